/** A prompt from the command line, or from standard input when it is `-` or missing. */
import { text as readText } from 'node:stream/consumers';
import { KnnLMError } from '../errors.ts';

export async function readPrompt(argument: string | undefined): Promise<string> {
  if (argument !== undefined && argument !== '-') return argument;
  if (argument === undefined && process.stdin.isTTY) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'No text was given. Write it in quotes after the store, or pipe it in: echo "a text" | knnlm …',
    );
  }
  // The newline that echo and editors put at the end is not meant.
  return (await readText(process.stdin)).replace(/\r?\n$/, '');
}
