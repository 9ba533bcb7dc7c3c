/** A prompt as the model reads it, with the text of each of its tokens. */
import { promptTokens } from '../../knnlm/generate.ts';
import type { LanguageModel } from '../../model/language-model.ts';
import { piecesOf } from '../../model/token-offsets.ts';
import { Refusal } from '../refusal.ts';

/** A token takes no more characters than that, but for strange ones. */
const MOST_CHARACTERS_PER_TOKEN = 16;

export interface Prompt {
  /** (T) without the start token, which is put before every text. */
  ids: readonly number[];
  /** (T) joined they are the text. */
  pieces: string[];
  /** It was given with the start token. */
  hasStart: boolean;
}

/** Tokens of the prompt as they are counted. */
export const lengthOf = ({ ids, hasStart }: Prompt): number => ids.length + (hasStart ? 1 : 0);

/** Errors: `Refusal` with 400 for a prompt of more than `most` tokens, `INVALID_ARGUMENT` for ids that are no tokens. */
export async function readPrompt(
  given: string | readonly number[],
  model: LanguageModel,
  most: number,
): Promise<Prompt> {
  const tooLong = (tokens: string): Refusal =>
    new Refusal(400, `The prompt has ${tokens} tokens, and ${most} are the most. Shorten it.`, {
      code: 'context_length_exceeded',
    });
  if (typeof given === 'string') {
    // Before the tokenizer, which all clients share, is kept busy with it.
    if (given.length > most * MOST_CHARACTERS_PER_TOKEN) throw tooLong(`over ${most}`);
    const ids = await promptTokens(given, model);
    if (ids.length > most) throw tooLong(String(ids.length));
    return { ids: Array.from(ids), pieces: piecesOf(given, ids, model.tokenizer), hasStart: false };
  }
  if (given.length > most) throw tooLong(String(given.length));
  const { tokenizer } = model;
  const hasStart = given[0] === tokenizer.bos;
  const ids = Array.from(await promptTokens(hasStart ? given.slice(1) : given, model));
  return { ids, pieces: decodedPieces(ids, tokenizer.stream()), hasStart };
}

function decodedPieces(
  ids: readonly number[],
  stream: { push: (id: number) => string; end: () => string },
): string[] {
  const pieces = ids.map((id) => stream.push(id));
  if (pieces.length > 0) pieces[pieces.length - 1] += stream.end();
  return pieces;
}
