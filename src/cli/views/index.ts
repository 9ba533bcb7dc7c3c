/** What `index` prints. */

import type { BuiltIndex } from '../../knnlm/build-types.ts';
import type { IndexPlan } from '../../knnlm/index-plan.ts';
import type { IndexStoreResult } from '../../knnlm/index-store.ts';
import type { KeptIndex } from '../../knnlm/keep-indexed.ts';
import type { MilvusStoreResult } from '../../knnlm/milvus/types.ts';
import type { UsedSettings } from '../../knnlm/types.ts';
import { bytes, count, duration, nats, percent, settingsText } from '../numbers.ts';
import type { Colors } from '../screen.ts';
import { oneLine } from '../text.ts';
import { facts } from './facts.ts';

/** What the work will take. */
export function indexPlanText(plan: IndexPlan, colors: Colors): string {
  return facts(
    [
      ['to index', `${count(plan.entries)} entries in ${count(plan.lists)} lists`],
      ['disk', `${bytes(plan.diskBytes)} needed meanwhile, ${bytes(plan.freeDiskBytes)} free`],
      ['time', `about ${duration(plan.seconds)}`],
    ],
    colors,
  );
}

export function indexSummary(
  result: IndexStoreResult,
  colors: Colors,
  retuned?: UsedSettings,
): string {
  const { settings, recall, error, standardError } = result;
  return facts(
    [
      ['entries', count(result.entries)],
      ['lists', `${count(result.lists)}, ${count(settings.probes)} read per search`],
      ['codes', result.codes],
      [
        'found',
        `${percent(recall)} of the true neighbors; log p off by ${nats(error, standardError)}`,
      ],
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
export function builtIndexText(index: BuiltIndex | KeptIndex): string {
  const { recall, error, seconds } = index;
  const what =
    'lists' in index && index.lists !== undefined
      ? [`${count(index.lists)} lists of ${index.codes}`, bytes(index.bytes ?? 0)]
      : 'url' in index && index.url !== undefined
        ? [oneLine(index.url), `${count(index.sent ?? 0)} entries sent`]
        : [];
  return [
    ...what,
    `${percent(recall)} of neighbors found`,
    `log p off by ${error.toFixed(4)} nats`,
    `in ${duration(seconds)}`,
  ].join(', ');
}

export function milvusSummary(result: MilvusStoreResult, colors: Colors): string {
  const { index, settings, recall, error } = result;
  const { rerank } = settings;
  const search = [
    ...Object.entries(settings.params).map(([name, value]) => `${name} ${value}`),
    ...(rerank > 0 ? [`${rerank} neighbors compared exactly for each one wanted`] : []),
  ];
  const made = Object.entries(index.params).map(([name, value]) => `${name} ${value}`);
  return facts(
    [
      ['collection', oneLine(result.url)],
      [
        'entries',
        `${count(result.entries)}, ${count(result.sent)} sent, ${count(result.removed)} removed`,
      ],
      ['index', [oneLine(index.type), ...made].join(', ')],
      ['search', search.join(', ')],
      ['found', `${percent(recall)} of the true neighbors; log p off by ${error.toFixed(4)} nats`],
      ['note', result.notes.map(oneLine).join('; ')],
      ['time', duration(result.seconds)],
    ],
    colors,
  );
}
