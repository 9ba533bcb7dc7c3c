/**
 * A tokenizer's vocabulary as three arrays: what the calling thread needs in order to decode and to show tokens. Made in the tokenizer's
 * thread, since reading a tokenizer.json of 150,000 tokens takes hundreds of milliseconds, and handed over without a copy.
 */
import { displayBytes, type TokenTexts } from './token-table.ts';
import type { TokenizerKind } from './tokenizer.ts';

export interface PackedTokens {
  kind: TokenizerKind;
  /** Highest id + 1. */
  size: number;
  /** What each id is written with, one after another: a token's bytes, a special token's name. */
  bytes: Uint8Array<ArrayBuffer>;
  /** (size + 1) where each begins. */
  starts: Uint32Array<ArrayBuffer>;
  /** (size) `TEXT`, `SPECIAL` or `UNUSED`. */
  roles: Uint8Array<ArrayBuffer>;
}

const TEXT = 0;
const SPECIAL = 1;
const UNUSED = 2;

export function packTokens(table: TokenTexts): PackedTokens {
  const { kind, size } = table;
  const utf8 = new TextEncoder();
  const starts = new Uint32Array(size + 1);
  const roles = new Uint8Array(size);
  let bytes = new Uint8Array(8 * size);
  for (let id = 0; id < size; id++) {
    const special = table.isSpecial(id);
    roles[id] = special ? SPECIAL : table.has(id) ? TEXT : UNUSED;
    const piece = special ? utf8.encode(table.text(id)) : table.bytes(id);
    const end = starts[id]! + piece.length;
    if (end > bytes.length) {
      const longer = new Uint8Array(2 * end);
      longer.set(bytes);
      bytes = longer;
    }
    bytes.set(piece, starts[id]);
    starts[id + 1] = end;
  }
  return { kind, size, bytes: bytes.slice(0, starts[size]), starts, roles };
}

const NOTHING = new Uint8Array(0);

export class PackedTokenTable implements TokenTexts {
  readonly #packed: PackedTokens;

  constructor(packed: PackedTokens) {
    this.#packed = packed;
  }

  get kind(): TokenizerKind {
    return this.#packed.kind;
  }

  get size(): number {
    return this.#packed.size;
  }

  has(id: number): boolean {
    const role = this.#packed.roles[id];
    return role === TEXT || role === SPECIAL;
  }

  isSpecial(id: number): boolean {
    return this.#packed.roles[id] === SPECIAL;
  }

  bytes(id: number): Uint8Array {
    return this.#packed.roles[id] === TEXT ? this.#piece(id) : NOTHING;
  }

  text(id: number): string {
    if (!this.has(id)) return `<unused ${id}>`;
    const piece = this.#piece(id);
    return this.isSpecial(id) ? Buffer.from(piece).toString() : displayBytes(piece);
  }

  #piece(id: number): Uint8Array {
    const { bytes, starts } = this.#packed;
    return bytes.subarray(starts[id], starts[id + 1]);
  }
}
