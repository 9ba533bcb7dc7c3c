/**
 * Text of documents and models made safe and fit for a terminal.
 * Documents are not ours: an escape sequence in one must not move the cursor, change colors or set the window's title.
 */
import stringWidth from 'fast-string-width';

// C0 without tab and newline, DEL, C1 (U+009B starts a control sequence as ESC [ does), and the marks that reorder
// what follows them (U+202A to U+202E, U+2066 to U+2069): with those a text shows other than it reads.
// biome-ignore lint/suspicious/noControlCharactersInRegex: finding control characters is the purpose
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Replaces every control character but tab and newline by a visible sign: ESC becomes ␛, a carriage return goes. */
export function sanitize(text: string): string {
  return text.replace(UNSAFE, (character) => {
    const code = character.charCodeAt(0);
    if (code === 0x0d) return '';
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? '␡' : '\ufffd';
  });
}

/** Safe text on one line: newlines become ↵, tabs a space. */
export function oneLine(text: string): string {
  return sanitize(text).replaceAll('\n', '↵').replaceAll('\t', ' ');
}

/** Columns that safe, uncolored text takes. */
export function width(text: string): number {
  return stringWidth(text);
}

/** Cuts safe text to so many columns, keeping its end or its start; the cut is marked with …. */
export function truncate(text: string, columns: number, keep: 'start' | 'end' = 'start'): string {
  if (width(text) <= columns) return text;
  const characters = Array.from(text);
  if (keep === 'end') characters.reverse();
  const kept: string[] = [];
  let used = 1;
  for (const character of characters) {
    used += width(character);
    if (used > columns) break;
    kept.push(character);
  }
  return keep === 'end' ? `…${kept.reverse().join('')}` : `${kept.join('')}…`;
}

/** Fills with spaces up to so many columns; never cuts. */
export function pad(text: string, columns: number, side: 'left' | 'right' = 'right'): string {
  const space = ' '.repeat(Math.max(0, columns - width(text)));
  return side === 'left' ? space + text : text + space;
}

/** JSON on one line. What JSON.stringify leaves raw but a terminal obeys is escaped too; the value is the same. */
export function toJson(value: unknown): string {
  return JSON.stringify(value).replace(
    UNSAFE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
