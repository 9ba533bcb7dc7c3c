/** Table rows and descriptions that several experiments share. */
import type { KnnLM } from '../knnlm/knnlm.ts';
import { count } from './claims.ts';
import type { Fit, FittedSettings } from './fit.ts';
import type { Lab, TextName } from './lab.ts';
import { perplexityInterval, type Score, total } from './score.ts';
import type { ResultRow } from './types.ts';

export function resultRow(
  name: string,
  score: Score,
  more: Partial<FittedSettings> & { entries?: number } = {},
): ResultRow {
  return { name, perplexity: score.perplexity, interval: perplexityInterval(score), ...more };
}

/** The model alone, and the mixture. */
export function fitRows(fit: Fit, name: string, entries: number): ResultRow[] {
  return [
    resultRow('model alone', fit.lm),
    resultRow(name, fit.mixture, { ...fit.settings, entries }),
  ];
}

/** What was stored and scored. */
export async function describeSetup(lab: Lab, text: TextName, memory: KnnLM): Promise<string> {
  const { tuning, reporting } = await lab.corpus(text);
  const kind = KINDS[text];
  const { documents, entries } = memory.info;
  return (
    `${memory.model.info.name} with ${count(entries)} entries of ${count(documents)} stored documents. Scored: ${kind}, ` +
    `${reporting.length} held-out documents; k, λ and T were chosen on ${tuning.length} others.`
  );
}

const KINDS: Record<TextName, string> = {
  domain: 'text of a kind the model has not read',
  trained: 'text of the kind the model was trained on',
};

/** How much of a claim's failure the store can answer for. */
export function coverage(fit: Fit, entries: number): string {
  const share = (100 * fit.covered).toFixed(0);
  return (
    `For ${share}% of the ${count(total(fit.lm.tokens))} targets any neighbor votes; the store has ${count(entries)} entries, ` +
    'the paper’s 103 million.'
  );
}
