/** What `build` prints: the plan before the work, the summary after it. */
import type { BuildPlan, BuildResult } from '../../knnlm/build-types.ts';
import { bytes, count, counted, duration, settingsText } from '../numbers.ts';
import type { Colors } from '../screen.ts';
import { oneLine } from '../text.ts';
import { facts } from './facts.ts';
import { builtIndexText } from './index.ts';

export function planText(plan: BuildPlan, colors: Colors): string {
  return facts(
    [
      [
        'to read',
        `${counted(plan.documents, 'document')}, ${bytes(plan.bytesOfText)} of text, about ${count(plan.entries)} entries`,
      ],
      [
        'disk',
        `${bytes(plan.diskBytes)} needed, ${plan.indexBytes ? `${bytes(plan.indexBytes)} more while it is indexed, ` : ''}${bytes(plan.freeDiskBytes)} free`,
      ],
      ['time', `about ${duration(plan.seconds)}${plan.indexBytes ? ', and the index' : ''}`],
    ],
    colors,
  );
}

/** The library refuses a build that cannot fit. Within a tenth of the free space an estimate from a sample may be wrong. */
export function nearlyFull(plan: BuildPlan): boolean {
  return plan.diskBytes > 0.9 * plan.freeDiskBytes && plan.diskBytes <= plan.freeDiskBytes;
}

export function buildSummary(result: BuildResult, store: string, colors: Colors): string {
  const skipped = result.skipped > 0 ? `, ${count(result.skipped)} skipped` : '';
  const resumed =
    result.resumedEntries > 0
      ? `, ${count(result.resumedEntries)} of them from an earlier run`
      : '';
  const tuned =
    result.tuningSeconds > 0
      ? `; ${duration(result.tuningSeconds)} tuning on its own documents`
      : '';
  return facts(
    [
      ['store', `${oneLine(store)}, ${bytes(result.bytes)}`],
      ['documents', `${count(result.documents)}${skipped}`],
      ['entries', `${count(result.entries)}${resumed}`],
      ['index', result.index ? builtIndexText(result.index) : ''],
      ['settings', settingsText(result.settings)],
      ['time', `${duration(result.seconds)}, ${count(result.entriesPerSecond)} entries/s${tuned}`],
    ],
    colors,
  );
}
