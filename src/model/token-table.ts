/**
 * The vocabulary of a tokenizer.json as bytes: what each token id stands for.
 *
 * Two spellings cover nearly all causal language models. Byte-level BPE (GPT-2, Llama 3, Qwen) writes each byte as one
 * printable character. SentencePiece (Llama 2, Gemma, Mistral) writes text with `▁` for a space and `<0xE6>` for a lone byte.
 */
import { KnnLMError } from '../errors.ts';
import type { TokenizerKind } from './tokenizer.ts';

export interface AddedToken {
  id: number;
  content: string;
  special?: boolean;
  /** Takes the white space before, after it along. */
  lstrip?: boolean;
  rstrip?: boolean;
}

/** The parts of tokenizer.json read here. Everything else is the upstream library's affair. */
export interface TokenizerJson {
  added_tokens?: AddedToken[];
  normalizer?: unknown;
  pre_tokenizer?: unknown;
  post_processor?: unknown;
  decoder?: unknown;
  model: {
    type?: string;
    /** Object of token → id (BPE, WordPiece, WordLevel) or list of [token, score] in id order (Unigram). */
    vocab: Record<string, number> | [string, number][];
    unk_id?: number | null;
    byte_fallback?: boolean;
    ignore_merges?: boolean;
    end_of_word_suffix?: string | null;
    continuing_subword_prefix?: string | null;
  };
}

const SPACE_MARK = /▁/g;
const BYTE_PIECE = /^<0x([0-9A-Fa-f]{2})>$/;
const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What there is to know of a vocabulary without encoding a text. */
export interface Vocabulary {
  readonly kind: TokenizerKind;
  /** Highest id + 1. */
  readonly size: number;
  /** Highest id that text can give, + 1: special tokens are left out. */
  readonly textSize: number;
  /** Of tokenizer.json: what it puts around a text. */
  readonly postProcessor: unknown;
  idOf(content: string): number | undefined;
  /** A token for display. */
  text(id: number): string;
}

/** What ids stand for. */
export interface TokenTexts {
  readonly kind: TokenizerKind;
  /** Highest id + 1. */
  readonly size: number;
  has(id: number): boolean;
  isSpecial(id: number): boolean;
  /** The bytes a token stands for; empty for special and unknown ids. */
  bytes(id: number): Uint8Array;
  /** A token for display. */
  text(id: number): string;
}

export class TokenTable implements TokenTexts, Vocabulary {
  readonly kind: TokenizerKind;
  readonly size: number;
  readonly textSize: number;
  readonly #pieces: (string | undefined)[] = [];
  readonly #special = new Set<number>();
  /** Added tokens that are not special are raw text, whatever the spelling. */
  readonly #raw = new Set<number>();
  readonly #json: TokenizerJson;

  constructor(json: TokenizerJson) {
    this.#json = json;
    this.kind = spellingOf(json);
    for (const [piece, id] of vocabularyOf(json)) this.#pieces[id] = piece;
    for (const { id, content, special } of json.added_tokens ?? []) {
      this.#pieces[id] = content;
      (special ? this.#special : this.#raw).add(id);
    }
    this.size = this.#pieces.length;
    let last = this.size - 1;
    while (last >= 0 && (this.#special.has(last) || this.#pieces[last] === undefined)) last--;
    this.textSize = last + 1;
  }

  get postProcessor(): unknown {
    return this.#json.post_processor;
  }

  has(id: number): boolean {
    return this.#pieces[id] !== undefined;
  }

  isSpecial(id: number): boolean {
    return this.#special.has(id);
  }

  idOf(content: string): number | undefined {
    const id = this.#pieces.indexOf(content);
    return id < 0 ? undefined : id;
  }

  bytes(id: number): Uint8Array {
    const piece = this.#pieces[id];
    if (piece === undefined || this.#special.has(id)) return new Uint8Array(0);
    if (this.#raw.has(id)) return utf8.encode(piece);
    if (this.kind === 'byte-level') return byteLevelBytes(piece);
    if (this.kind === 'sentencepiece') {
      const byte = BYTE_PIECE.exec(piece);
      return byte
        ? Uint8Array.of(Number.parseInt(byte[1]!, 16))
        : utf8.encode(piece.replace(SPACE_MARK, ' '));
    }
    return utf8.encode(generalText(piece, this.#json.model));
  }

  text(id: number): string {
    const piece = this.#pieces[id];
    if (piece === undefined) return `<unused ${id}>`;
    return this.#special.has(id) ? piece : displayBytes(this.bytes(id));
  }
}

function* vocabularyOf(json: TokenizerJson): Iterable<[piece: string, id: number]> {
  const vocab = json.model?.vocab;
  if (vocab === null || typeof vocab !== 'object') throw vocabularyMissing();
  if (!Array.isArray(vocab)) yield* Object.entries(vocab);
  else for (let id = 0; id < vocab.length; id++) yield [vocab[id]![0], id];
}

export const vocabularyMissing = (): KnnLMError =>
  new KnnLMError(
    'MODEL_INVALID',
    'tokenizer.json has no "model.vocab". Use the tokenizer.json that belongs to the model.',
  );

/** Looks for the parts that betray the spelling, at any depth of the `Sequence` nests they come in. */
export function spellingOf(json: TokenizerJson): TokenizerKind {
  const decoder = JSON.stringify(json.decoder ?? null);
  const preTokenizer = JSON.stringify(json.pre_tokenizer ?? null);
  if (decoder.includes('"ByteLevel"') || preTokenizer.includes('"ByteLevel"')) return 'byte-level';
  if (json.model?.byte_fallback || /"(ByteFallback|Metaspace)"|▁/.test(decoder))
    return 'sentencepiece';
  return 'general';
}

/** GPT-2's table: printable Latin-1 stands for itself, the other 68 bytes for U+0100 onwards. */
const byteOfChar: ReadonlyMap<string, number> = (() => {
  const map = new Map<string, number>();
  let next = 256;
  for (let byte = 0; byte < 256; byte++) {
    const printable =
      (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
    map.set(String.fromCharCode(printable ? byte : next++), byte);
  }
  return map;
})();

function byteLevelBytes(piece: string): Uint8Array {
  const out = new Uint8Array(piece.length);
  for (let i = 0; i < piece.length; i++) {
    const byte = byteOfChar.get(piece[i]!);
    // A character outside the table was put into the vocabulary by hand: the token is its own text.
    if (byte === undefined) return utf8.encode(piece);
    out[i] = byte;
  }
  return out;
}

function generalText(piece: string, model: TokenizerJson['model']): string {
  const { end_of_word_suffix: suffix, continuing_subword_prefix: prefix } = model;
  if (suffix && piece.endsWith(suffix)) return `${piece.slice(0, -suffix.length)} `;
  if (prefix && piece.startsWith(prefix)) return piece.slice(prefix.length);
  return piece;
}

/** Valid UTF-8 as text, every other byte as `<0xE6>`. */
export function displayBytes(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i]!;
    const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    try {
      text += strictUtf8.decode(bytes.subarray(i, i + length));
      i += length;
    } catch {
      text += `<0x${first.toString(16).toUpperCase().padStart(2, '0')}>`;
      i++;
    }
  }
  return text;
}
