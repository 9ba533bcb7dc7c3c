/** What was known of each target of a scored document, for those who want to see where memory helps and where it hurts. */

import { runOf } from './pointers.ts';
import type { Recollection } from './weigh.ts';

/** Shapes: T targets. */
export interface TargetNotes {
  /** (T) p of the target among all that voted; 0 when nothing did. */
  voted: Float64Array;
  /** (T) weight of those votes in the mixture. */
  lambdas: Float64Array;
  /** (T) squared L2 of the nearest neighbor; +Infinity when there was none. */
  nearest: Float32Array;
  /** (T) 1 where the index was asked. */
  searched: Uint8Array;
  /** (T) for how many tokens the longest-lived pointer had gone along with the text. */
  runs: Uint8Array;
}

export function targetNotes(targets: number): TargetNotes {
  return {
    voted: new Float64Array(targets),
    lambdas: new Float64Array(targets),
    nearest: new Float32Array(targets).fill(Number.POSITIVE_INFINITY),
    searched: new Uint8Array(targets),
    runs: new Uint8Array(targets),
  };
}

export function noteTarget(
  notes: TargetNotes,
  i: number,
  { recollection, lambda, voted }: { recollection: Recollection; lambda: number; voted: number },
): void {
  const { row, searched } = recollection;
  notes.voted[i] = voted;
  notes.lambdas[i] = lambda;
  if (row.values.length > 0) notes.nearest[i] = row.distances[0]!;
  notes.searched[i] = searched ? 1 : 0;
  let longest = 0;
  for (let n = 0; n < row.values.length; n++) longest = Math.max(longest, runOf(row.histories[n]!));
  notes.runs[i] = longest;
}
