/** The identity of a text, by which duplicates and already stored documents are known. */
import { createHash } from 'node:crypto';

/** sha256 of the text as UTF-8, in hex. */
export function documentHash(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}
