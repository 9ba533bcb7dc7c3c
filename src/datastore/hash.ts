/** The identity of a text, by which duplicates and already stored documents are known. */
import { createHash } from 'node:crypto';

/** sha256 of the text as UTF-8, in hex. Of a pair that of `["source","target"]` as JSON: two sources may have one target. */
export function documentHash(text: string, sourceText?: string): string {
  const identity = sourceText === undefined ? text : JSON.stringify([sourceText, text]);
  return createHash('sha256').update(identity, 'utf8').digest('hex');
}
