/** What `index` prints. */
import type { IndexStoreResult } from '../../knnlm/index-store.ts';
import type { BuiltIndex, UsedSettings } from '../../knnlm/types.ts';
import { bytes, count, duration, percent, settingsText } from '../numbers.ts';
import type { Colors } from '../screen.ts';
import { facts } from './facts.ts';

export function indexSummary(
  result: IndexStoreResult,
  colors: Colors,
  retuned?: UsedSettings,
): string {
  const { settings, recall, error } = result;
  return facts(
    [
      ['entries', count(result.entries)],
      ['lists', `${count(result.lists)}, ${count(settings.probes)} read per search`],
      ['codes', result.codes],
      ['found', `${percent(recall)} of the true neighbors; log p off by ${error.toFixed(4)} nats`],
      ['size', bytes(result.bytes)],
      ...(result.keyBytes === undefined
        ? []
        : [['keys', `${bytes(result.keyBytes)} removed`] as [string, string]]),
      ...(retuned ? [['settings', settingsText(retuned)] as [string, string]] : []),
      ['time', duration(result.seconds)],
    ],
    colors,
  );
}

/** An index that another command built, in a line. */
export const builtIndexText = ({
  lists,
  codes,
  recall,
  error,
  bytes: size,
  seconds,
}: BuiltIndex): string =>
  `${count(lists)} lists of ${codes}, ${bytes(size)}, ${percent(recall)} of neighbors found, log p off by ${error.toFixed(4)} nats, in ${duration(seconds)}`;
