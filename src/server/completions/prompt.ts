/** A prompt as the model reads it, with the text of each of its tokens. */
import { promptTokens } from '../../knnlm/generate.ts';
import type { ChatMessage } from '../../model/chat-template.ts';
import type { LanguageModel } from '../../model/language-model.ts';
import { piecesOf } from '../../model/token-offsets.ts';
import { Refusal } from '../refusal.ts';

/** A token takes no more characters than that, but for strange ones. */
const MOST_CHARACTERS_PER_TOKEN = 16;

export interface Prompt {
  /** (T) without the start token, which is put before every text. */
  ids: readonly number[];
  /** (T) joined they are the text. Of a conversation, whose text nobody is told, none. */
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
  if (typeof given === 'string') {
    checkCharacters(given.length, most);
    const ids = await promptTokens(given, model);
    checkTokens(ids.length, most);
    return { ids: Array.from(ids), pieces: piecesOf(given, ids, model.tokenizer), hasStart: false };
  }
  checkTokens(given.length, most);
  const { tokenizer } = model;
  const hasStart = given[0] === tokenizer.bos;
  const ids = Array.from(await promptTokens(hasStart ? given.slice(1) : given, model));
  return { ids, pieces: decodedPieces(ids, tokenizer.stream()), hasStart };
}

/** A conversation up to where the assistant speaks. Errors: as `readPrompt`, and those of `LanguageModel.encodeChat`. */
export async function readChat(
  messages: readonly ChatMessage[],
  model: LanguageModel,
  most: number,
): Promise<Prompt> {
  checkCharacters(
    messages.reduce((sum, { content }) => sum + content.length, 0),
    most,
  );
  const ids = Array.from(await model.encodeChat(messages));
  checkTokens(ids.length, most);
  return { ids, pieces: [], hasStart: false };
}

/** Before the tokenizer, which all clients share, is kept busy with it. */
function checkCharacters(characters: number, most: number): void {
  if (characters > most * MOST_CHARACTERS_PER_TOKEN) throw tooLong(`over ${most}`, most);
}

function checkTokens(tokens: number, most: number): void {
  if (tokens > most) throw tooLong(String(tokens), most);
}

function tooLong(tokens: string, most: number): Refusal {
  return new Refusal(
    400,
    `The prompt has ${tokens} tokens, and ${most} are the most. Shorten it.`,
    {
      code: 'context_length_exceeded',
    },
  );
}

function decodedPieces(
  ids: readonly number[],
  stream: { push: (id: number) => string; end: () => string },
): string[] {
  const pieces = ids.map((id) => stream.push(id));
  if (pieces.length > 0) pieces[pieces.length - 1] += stream.end();
  return pieces;
}
