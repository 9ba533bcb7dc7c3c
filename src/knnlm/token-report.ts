/** A scored document target by target, as `eval --per-token` writes it. */
import type { LanguageModel } from '../model/language-model.ts';
import type { ScoredDocument } from './evaluate.ts';

/** JSON knows no infinities: null stands for -Infinity and, of `nearest`, for no neighbor. */
export interface ReportedToken {
  document: string;
  /** Of the target in the document, from 0. */
  position: number;
  token: number;
  /** Tokens joined are not always the text: a character may be cut. */
  text: string;
  logPLm: number | null;
  /** Under the mixture. */
  logP: number | null;
  /** p of the token among all that voted. */
  pKnn: number;
  /** Weight of the votes in the mixture. */
  lambda: number;
  /** Squared L2. */
  nearest: number | null;
  /** The index was asked. */
  searched: boolean;
  /** For how many tokens the longest-lived pointer had gone along with the text. */
  run: number;
  /** Occurrences of the token in the datastore. */
  frequency: number;
}

/** @param scored with notes @param counts (V) occurrences of each token in the datastore */
export function* reportTokens(
  { document, targets, lm, mixture, notes }: ScoredDocument,
  counts: ArrayLike<number>,
  { tokenizer }: LanguageModel,
): Generator<ReportedToken> {
  const { voted, lambdas, nearest, searched, runs } = notes!;
  for (const [position, token] of targets.entries()) {
    yield {
      document: document.id,
      position,
      token,
      text: tokenizer.tokenText(token),
      logPLm: finite(lm[position]!),
      logP: finite(mixture[position]!),
      pKnn: voted[position]!,
      lambda: lambdas[position]!,
      nearest: finite(nearest[position]!),
      searched: searched[position] === 1,
      run: runs[position]!,
      frequency: Math.round(counts[token]!),
    };
  }
}

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);
