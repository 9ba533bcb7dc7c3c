/** Documents as windows whose every target is scored once: all documents have their share of a budget. */
import type { SourceDocument } from '../datastore/types.ts';
import { readTokens } from '../knnlm/read-tokens.ts';
import type { TuningWindow } from '../knnlm/tuning-windows.ts';
import { planWindows, type WindowPlan } from '../knnlm/windows.ts';
import type { LanguageModel } from '../model/language-model.ts';

/** A window that knows where it lies in its document. */
export interface TextWindow extends TuningWindow {
  /** Id of the document. */
  id: string;
  /** Index of the first input in the document: that of its first target, too. */
  start: number;
}

/** @param options most: targets in all; long documents are cut, short ones leave their share to the others. */
export async function textWindows(
  documents: readonly SourceDocument[],
  model: LanguageModel,
  { most, ...plan }: WindowPlan & { most: number },
): Promise<TextWindow[]> {
  const texts = [];
  for (const document of documents)
    texts.push({ id: document.id, ...(await readTokens(document, model)) });
  const limit = fairLimit(
    texts.map(({ targets }) => targets.length),
    most,
  );
  return texts.flatMap(({ id, inputs, targets }, document) =>
    [...planWindows(Math.min(limit, targets.length), plan)].map(({ start, length, seen }) => ({
      id,
      document,
      start,
      inputs: inputs.slice(start, start + length),
      targets: targets.slice(start, start + length),
      positions: Int32Array.from({ length: length - seen }, (_, i) => seen + i),
    })),
  );
}

/** The most targets one document may give, so that all of them together give `most` or all they have. */
export function fairLimit(lengths: readonly number[], most: number): number {
  let left = most;
  const sorted = [...lengths].sort((a, b) => a - b);
  for (const [i, length] of sorted.entries()) {
    const share = Math.max(1, Math.floor(left / (sorted.length - i)));
    if (length > share) return share;
    left -= length;
  }
  return Number.POSITIVE_INFINITY;
}
