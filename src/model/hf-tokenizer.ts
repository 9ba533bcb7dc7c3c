/**
 * `Tokenizer` by @huggingface/tokenizers, the only file that knows it. The ids are the library's; bytes, offsets and
 * streaming are ours (`token-table.ts`, `token-offsets.ts`).
 *
 * Special tokens are taken out of the library's sight, so that `<|endoftext|>` inside a document is read as the characters
 * it is written with: a document cannot end itself. (Python's `tokenizers` does this with `encode_special_tokens = True`.)
 * Added tokens not marked special stay: they are vocabulary.
 */
import { KnnLMError } from '../errors.ts';
import { type PackedTokens, PackedTokenTable, packTokens } from './packed-tokens.ts';
import { safePieces } from './safe-pieces.ts';
import { byteOffsetsOf, charOffsetsOf } from './token-offsets.ts';
import { type TokenizerJson, TokenTable, type TokenTexts } from './token-table.ts';
import type {
  DecodeOptions,
  Encoding,
  Tokenizer,
  TokenizerKind,
  TokenStream,
} from './tokenizer.ts';

export interface HfTokenizerOptions {
  /** tokenizer.json, parsed. */
  json: TokenizerJson;
  bos: number;
  eos: number;
}

interface Upstream {
  encode(text: string, options: { add_special_tokens: boolean }): { ids: (number | undefined)[] };
  decode(
    ids: number[],
    options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean },
  ): string;
}

/** All that decoding needs, without the library and without tokenizer.json. */
export interface TokenizerFacts {
  packed: PackedTokens;
  /** The normalizer puts a space before every text (`Prepend ▁`). */
  addsSpace: boolean;
  /** Decoding a text drops one space at its start. */
  dropsSpace: boolean;
}

export const tokenizerFacts = (json: TokenizerJson, table: TokenTable): TokenizerFacts => ({
  packed: packTokens(table),
  ...spaceRules(json, table),
});

const spaceRules = (
  json: TokenizerJson,
  table: TokenTable,
): Pick<TokenizerFacts, 'addsSpace' | 'dropsSpace'> => ({
  addsSpace: JSON.stringify(json.normalizer ?? null).includes('"Prepend"'),
  dropsSpace: table.kind === 'sentencepiece' && dropsFirstSpace(json.decoder),
});

export async function createHfTokenizer({
  json,
  bos,
  eos,
}: HfTokenizerOptions): Promise<Tokenizer> {
  const table = new TokenTable(json);
  const upstream = createUpstream(await import('@huggingface/tokenizers'), json, table);
  return new HfTokenizer({
    upstream: () => upstream,
    table,
    ...spaceRules(json, table),
    bos,
    eos,
  });
}

export interface LazyTokenizerOptions {
  facts: TokenizerFacts;
  /** Reads tokenizer.json, should text be encoded on this thread. */
  readJson: () => TokenizerJson;
  bos: number;
  eos: number;
}

/** Decodes without the library; it is set up, at the cost of some 20 ms to 500 ms, when text is first encoded on this thread. */
export async function createLazyTokenizer({
  facts,
  readJson,
  bos,
  eos,
}: LazyTokenizerOptions): Promise<Tokenizer> {
  const library = await import('@huggingface/tokenizers');
  let upstream: Upstream | undefined;
  const setUp = (): Upstream => {
    if (upstream === undefined) {
      const json = readJson();
      upstream = createUpstream(library, json, new TokenTable(json));
    }
    return upstream;
  };
  const table = new PackedTokenTable(facts.packed);
  return new HfTokenizer({ ...facts, upstream: setUp, table, bos, eos });
}

function createUpstream(
  library: typeof import('@huggingface/tokenizers'),
  json: TokenizerJson,
  table: TokenTable,
): Upstream {
  try {
    return new library.Tokenizer(withoutSpecialTokens(json, table), {});
  } catch (cause) {
    throw new KnnLMError(
      'MODEL_UNSUPPORTED',
      `tokenizer.json cannot be used: ${cause instanceof Error ? cause.message : String(cause)}. Use a model with a byte-level BPE or SentencePiece tokenizer.`,
      { cause },
    );
  }
}

function withoutSpecialTokens(json: TokenizerJson, table: TokenTable): object {
  const model = { ...json.model };
  if (Array.isArray(model.vocab)) {
    // Unigram would still find `</s>` as a piece of its vocabulary: special pieces get a spelling no text has.
    model.vocab = model.vocab.map(([piece, score], id) =>
      table.isSpecial(id) && id !== model.unk_id ? [`\u{10FFFE}${id}`, score] : [piece, score],
    );
  }
  const added = (json.added_tokens ?? []).filter((token) => !token.special);
  const words = canSplitWords(json) ? { pre_tokenizer: SPLIT_WORDS } : {};
  return { post_processor: null, ...json, ...words, model, added_tokens: added };
}

/** For text that follows a special token: a space is not put before it where only the first text gets one. */
export function continuingJson(json: TokenizerJson): TokenizerJson {
  const text = JSON.stringify(json.pre_tokenizer ?? null);
  const never = text.replaceAll('"prepend_scheme":"first"', '"prepend_scheme":"never"');
  return { ...json, pre_tokenizer: JSON.parse(never) };
}

/** Cuts before each run of space marks. */
const SPLIT_WORDS = { type: 'Split', pattern: { Regex: '▁+[^▁]*|[^▁]+' }, behavior: 'Isolated' };

/**
 * Llama 2's tokenizers read a whole text as one word. Where no token of the vocabulary has a space mark after another character, no merge
 * can cross the border of a word, so words can be merged one by one with the same result: the library then knows most of
 * them from its cache, which is several times as fast.
 */
function canSplitWords({ model, pre_tokenizer }: TokenizerJson): boolean {
  if (pre_tokenizer || model.type !== 'BPE' || model.ignore_merges) return false;
  return !Object.keys(model.vocab).some((piece) => /[^▁]▁/.test(piece));
}

interface HfTokenizerParts extends Omit<TokenizerFacts, 'packed'> {
  upstream: () => Upstream;
  table: TokenTexts;
  bos: number;
  eos: number;
}

class HfTokenizer implements Tokenizer {
  readonly kind: TokenizerKind;
  readonly size: number;
  readonly bos: number;
  readonly eos: number;
  readonly #upstream: () => Upstream;
  readonly #table: TokenTexts;
  readonly #addsSpace: boolean;
  readonly #dropsSpace: boolean;
  readonly #bytes: Uint8Array[] = [];
  readonly #texts: string[] = [];

  constructor({ upstream, table, addsSpace, dropsSpace, bos, eos }: HfTokenizerParts) {
    this.kind = table.kind;
    this.size = table.size;
    this.bos = bos;
    this.eos = eos;
    this.#upstream = upstream;
    this.#table = table;
    this.#addsSpace = addsSpace;
    this.#dropsSpace = dropsSpace;
  }

  encode(text: string): Int32Array {
    const parts: Int32Array[] = [];
    const encode = (piece: string) => this.#encodePiece(piece);
    for (const piece of safePieces(text, { encode, addsSpace: this.#addsSpace })) {
      parts.push(encode(piece));
    }
    if (parts.length === 1) return parts[0]!;
    const ids = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      ids.set(part, at);
      at += part.length;
    }
    return ids;
  }

  #encodePiece(piece: string): Int32Array {
    const { ids } = this.#upstream().encode(piece, { add_special_tokens: false });
    const missing = ids.findIndex((id) => id === undefined || id === null);
    if (missing >= 0) {
      throw new KnnLMError(
        'MODEL_UNSUPPORTED',
        `The tokenizer has no token for a character of ${JSON.stringify(piece.slice(0, 40))} and no unknown token. Use another model.`,
      );
    }
    return Int32Array.from(ids as number[]);
  }

  encodeWithOffsets(text: string): Encoding {
    const ids = this.encode(text);
    const pieces = Array.from(ids, (id) => this.tokenBytes(id));
    const byteOffsets = byteOffsetsOf(pieces, Buffer.from(text, 'utf8'));
    return { ids, byteOffsets, charOffsets: charOffsetsOf(byteOffsets, text) };
  }

  decode(ids: ArrayLike<number>, options: DecodeOptions = {}): string {
    if (this.kind === 'general') return this.#decodeUpstream(ids);
    const stream = this.stream(options);
    let text = '';
    for (let i = 0; i < ids.length; i++) text += stream.push(ids[i]!);
    return text + stream.end();
  }

  #decodeUpstream(ids: ArrayLike<number>): string {
    const kept = Array.from(ids).filter((id) => !this.#table.isSpecial(id));
    if (kept.length === 0) return '';
    return this.#upstream().decode(kept, {
      skip_special_tokens: true,
      clean_up_tokenization_spaces: false,
    });
  }

  tokenBytes(id: number): Uint8Array {
    return (this.#bytes[id] ??= this.#table.bytes(id));
  }

  tokenText(id: number): string {
    return (this.#texts[id] ??= this.#table.text(id));
  }

  stream({ continuing = false }: DecodeOptions = {}): TokenStream {
    if (this.kind === 'general') return this.#wholeStream();
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
    let atStart = this.#dropsSpace && !continuing;
    return {
      push: (id) => {
        let bytes = this.tokenBytes(id);
        if (atStart && bytes.length > 0) {
          if (bytes[0] === 0x20) bytes = bytes.subarray(1);
          atStart = false;
        }
        return decoder.decode(bytes, { stream: true });
      },
      end: () => decoder.decode(),
    };
  }

  /** Spaces between words depend on both neighbors here, so the whole is decoded again and what is new handed out. */
  #wholeStream(): TokenStream {
    const ids: number[] = [];
    let given = '';
    return {
      push: (id) => {
        ids.push(id);
        const text = this.#decodeUpstream(ids);
        if (text.endsWith('\uFFFD') || !text.startsWith(given)) return '';
        const fresh = text.slice(given.length);
        given = text;
        return fresh;
      },
      end: () => this.#decodeUpstream(ids).slice(given.length),
    };
  }
}

function dropsFirstSpace(decoder: unknown): boolean {
  const found = JSON.stringify(decoder ?? null);
  if (/"type":"Strip","content":" ","start":1/.test(found)) return true;
  const metaspace = /"type":"Metaspace"[^}]*/.exec(found)?.[0];
  return metaspace !== undefined && !/"prepend_scheme":"never"/.test(metaspace);
}
