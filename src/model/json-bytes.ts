/**
 * JSON walked as bytes: where the members of an object and the elements of an array lie, without making them. A tokenizer.json of 150,000 tokens
 * becomes 100 MB when it is parsed; walked it stays the 10 MB that it is.
 *
 * Structure is checked as far as it is walked; what is wrong inside a skipped value is seen by whoever parses it.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const COLON = 0x3a;
const BRACE = 0x7b;
const BRACKET = 0x5b;

/** Bytes [start, end) of a value; a string's quotes are among them. */
export interface JsonRange {
  start: number;
  end: number;
}

export interface JsonMember extends JsonRange {
  /** Of the name, quotes included. */
  name: JsonRange;
}

export class JsonBytes {
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** The value that the whole text is. Errors: a SyntaxError when there is none, or something behind it. */
  get root(): JsonRange {
    const start = this.#space(0);
    const end = this.#skip(start);
    if (this.#space(end) < this.#bytes.length) throw malformed(end);
    return { start, end };
  }

  isObject({ start }: JsonRange): boolean {
    return this.#bytes[start] === BRACE;
  }

  /** Errors: a SyntaxError. */
  parse({ start, end }: JsonRange): unknown {
    return JSON.parse(this.#bytes.toString('utf8', start, end));
  }

  /** A whole number, or NaN. */
  integer({ start, end }: JsonRange): number {
    let value = 0;
    for (let at = start; at < end; at++) {
      const digit = this.#bytes[at]! - 0x30;
      if (digit < 0 || digit > 9) return Number.NaN;
      value = 10 * value + digit;
    }
    return value;
  }

  /** Whether a string is this one, spelled with escapes or without. @param utf8 the string as `JSON.stringify` writes it */
  isString(range: JsonRange, utf8: Buffer): boolean {
    const { start, end } = range;
    const longer = end - start - utf8.length;
    if (longer < 0) return false;
    if (longer === 0) return this.#bytes.compare(utf8, 0, utf8.length, start, end) === 0;
    return (
      this.#bytes.subarray(start, end).includes(BACKSLASH) &&
      this.parse(range) === JSON.parse(utf8.toString())
    );
  }

  /** Of an object; none for any other value. Errors: a SyntaxError. */
  *members(range: JsonRange): Generator<JsonMember, void, undefined> {
    const { start, end } = range;
    if (!this.isObject(range)) return;
    for (let at = this.#space(start + 1); at < end - 1; ) {
      if (this.#bytes[at] !== QUOTE) throw malformed(at);
      const name = { start: at, end: this.#skip(at) };
      const colon = this.#space(name.end);
      if (this.#bytes[colon] !== COLON) throw malformed(colon);
      const value = this.#space(colon + 1);
      const member = { name, start: value, end: this.#skip(value) };
      yield member;
      at = this.#next(member.end, end - 1);
    }
  }

  /** Of an array; none for any other value. Errors: a SyntaxError. */
  *elements({ start, end }: JsonRange): Generator<JsonRange, void, undefined> {
    if (this.#bytes[start] !== BRACKET) return;
    for (let at = this.#space(start + 1); at < end - 1; ) {
      const element = { start: at, end: this.#skip(at) };
      yield element;
      at = this.#next(element.end, end - 1);
    }
  }

  /** Past the comma behind a value, or at the bracket that closes it all. */
  #next(at: number, close: number): number {
    const found = this.#space(at);
    if (found === close) return close;
    if (this.#bytes[found] !== COMMA) throw malformed(found);
    const next = this.#space(found + 1);
    if (next >= close) throw malformed(found);
    return next;
  }

  #space(at: number): number {
    const bytes = this.#bytes;
    while (bytes[at] === 0x20 || bytes[at] === 0x0a || bytes[at] === 0x0d || bytes[at] === 0x09)
      at++;
    return at;
  }

  /** @returns the byte behind the value that begins here */
  #skip(at: number): number {
    const bytes = this.#bytes;
    if (bytes[at] === QUOTE) return this.#skipString(at);
    let depth = 0;
    let end = at;
    for (; end < bytes.length; end++) {
      const byte = bytes[end]!;
      if (byte === QUOTE) end = this.#skipString(end) - 1;
      else if (byte === BRACE || byte === BRACKET) depth++;
      else if (byte === 0x7d || byte === 0x5d) {
        if (depth === 0) break;
        if (--depth === 0) return end + 1;
      } else if (depth === 0 && (byte === COMMA || byte <= 0x20)) break;
    }
    // A number or a word ends at whatever cannot be part of it, and is one byte at least.
    if (depth > 0 || end === at) throw malformed(end);
    return end;
  }

  #skipString(at: number): number {
    const bytes = this.#bytes;
    for (let end = bytes.indexOf(QUOTE, at + 1); end >= 0; end = bytes.indexOf(QUOTE, end + 1)) {
      let slashes = 0;
      while (bytes[end - 1 - slashes] === BACKSLASH) slashes++;
      if (slashes % 2 === 0) return end + 1;
    }
    throw malformed(bytes.length);
  }
}

const malformed = (at: number): SyntaxError =>
  new SyntaxError(`Unexpected JSON at byte ${at} (cut short?)`);
