/**
 * Special tokens that are written out in a text, as chat templates write them: found, unless they stand in what somebody
 * said. Those are broken in two by a guard before the template is rendered, so that no message can end its own turn or
 * begin another's, and mended when the text around them is encoded.
 */
import type { AddedToken } from './token-table.ts';

/** A stretch of plain text, or the id of a special token. */
export type MarkedPart = { text: string } | { id: number };

/** Code points that are no characters, so that no text has a use for them (Unicode, section 23.7). */
const FIRST_GUARD = 0xfdd0;
const GUARDS = 32;

/** One that is in none of the texts. */
export function chooseGuard(texts: readonly string[]): string | undefined {
  for (let i = 0; i < GUARDS; i++) {
    const guard = String.fromCharCode(FIRST_GUARD + i);
    if (!texts.some((text) => text.includes(guard))) return guard;
  }
  return undefined;
}

/** Breaks every special token in a text by the guard after its first character. */
export function guardSpecialTokens(
  text: string,
  added: readonly AddedToken[],
  guard: string,
): string {
  const pattern = patternOf(added, ({ content }) => literal(content));
  return pattern
    ? text.replace(pattern, ([first, ...rest]) => [first, guard, ...rest].join(''))
    : text;
}

/**
 * Cuts a text at the special tokens in it, the longest where several begin at one place. Some take the white space beside
 * them along, as `lstrip` and `rstrip` of tokenizer.json say.
 */
export function splitSpecialTokens(text: string, added: readonly AddedToken[]): MarkedPart[] {
  const ids = new Map(added.filter(isSpecial).map(({ content, id }) => [content, id]));
  const pattern = patternOf(
    added,
    ({ content, lstrip, rstrip }) =>
      `${lstrip ? '\\s*' : ''}(?<t${ids.get(content)}>${literal(content)})${rstrip ? '\\s*' : ''}`,
  );
  const parts: MarkedPart[] = [];
  let at = 0;
  for (const match of pattern ? text.matchAll(pattern) : []) {
    if (match.index > at) parts.push({ text: text.slice(at, match.index) });
    const content = Object.values(match.groups!).find((group) => group !== undefined)!;
    parts.push({ id: ids.get(content)! });
    at = match.index + match[0].length;
  }
  if (at < text.length) parts.push({ text: text.slice(at) });
  return parts;
}

const isSpecial = ({ special, content }: AddedToken): boolean => special === true && content !== '';

function patternOf(
  added: readonly AddedToken[],
  source: (token: AddedToken) => string,
): RegExp | undefined {
  const special = [
    ...new Map(added.filter(isSpecial).map((token) => [token.content, token])).values(),
  ];
  special.sort((a, b) => b.content.length - a.content.length);
  return special.length > 0 ? new RegExp(special.map(source).join('|'), 'gu') : undefined;
}

const literal = (text: string): string => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
