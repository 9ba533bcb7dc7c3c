/**
 * What there is to say of a tokenizer without setting it up: its kind, how many tokens it has, and single ones. tokenizer.json is walked once for
 * the numbers, and again for each token asked for; it is never made into objects.
 */
import { JsonBytes, type JsonRange } from './json-bytes.ts';
import { unreadableJson } from './model-files.ts';
import {
  type AddedToken,
  spellingOf,
  type TokenizerJson,
  TokenTable,
  type Vocabulary,
  vocabularyMissing,
} from './token-table.ts';
import type { TokenizerKind } from './tokenizer.ts';

/** Errors: `MODEL_INVALID` */
export function outlineTokenizer(folder: string, bytes: Buffer): TokenizerOutline {
  try {
    return new TokenizerOutline(bytes);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw unreadableJson(folder, 'tokenizer.json', error.message);
  }
}

export class TokenizerOutline implements Vocabulary {
  readonly kind: TokenizerKind;
  readonly size: number;
  readonly textSize: number;
  readonly #json: JsonBytes;
  /** tokenizer.json without its vocabulary, merges and added tokens. */
  readonly #rest: TokenizerJson;
  #vocab: JsonRange = { start: 0, end: 0 };
  /** A few hundred in most. */
  #added: AddedToken[] = [];

  /** @param bytes of tokenizer.json. Errors: a SyntaxError when it is not JSON, `MODEL_INVALID` when it has no vocabulary. */
  constructor(bytes: Buffer) {
    this.#json = new JsonBytes(bytes);
    this.#rest = this.#readRest();
    this.kind = spellingOf(this.#rest);
    const special = new Set<number>();
    let last = -1;
    for (const { id, special: isSpecial } of this.#added) {
      last = Math.max(last, id);
      if (isSpecial) special.add(id);
    }
    let lastText = -1;
    for (const { id } of this.#pieces()) {
      last = Math.max(last, id);
      if (id > lastText && !special.has(id)) lastText = id;
    }
    for (const { id } of this.#added) if (!special.has(id)) lastText = Math.max(lastText, id);
    this.size = last + 1;
    this.textSize = lastText + 1;
  }

  get postProcessor(): unknown {
    return this.#rest.post_processor;
  }

  idOf(content: string): number | undefined {
    const wanted = Buffer.from(JSON.stringify(content));
    const ids: number[] = [];
    for (const { id, piece } of this.#pieces())
      if (this.#json.isString(piece, wanted)) ids.push(id);
    // An added token takes the place of a piece that has its id.
    for (const added of this.#added) {
      if (added.content === content) ids.push(added.id);
      else if (ids.includes(added.id)) ids.splice(ids.indexOf(added.id), 1);
    }
    return ids.length === 0 ? undefined : Math.min(...ids);
  }

  text(id: number): string {
    const added = this.#added.filter((token) => token.id === id);
    const vocab: Record<string, number> = {};
    for (const { id: own, piece } of this.#pieces()) {
      if (own === id) vocab[this.#json.parse(piece) as string] = id;
    }
    const { model } = this.#rest;
    return new TokenTable({ ...this.#rest, added_tokens: added, model: { ...model, vocab } }).text(
      id,
    );
  }

  #readRest(): TokenizerJson {
    const rest: Record<string, unknown> = {};
    let model: Record<string, unknown> | undefined;
    const { root } = this.#json;
    if (!this.#json.isObject(root)) throw new SyntaxError('it is not a JSON object');
    for (const member of this.#json.members(root)) {
      const name = this.#json.parse(member.name) as string;
      if (name === 'added_tokens') this.#added = this.#json.parse(member) as AddedToken[];
      else if (name === 'model') model = this.#readModel(member);
      else rest[name] = this.#json.parse(member);
    }
    if (model === undefined) throw vocabularyMissing();
    return { ...rest, model } as unknown as TokenizerJson;
  }

  #readModel(range: JsonRange): Record<string, unknown> | undefined {
    const model: Record<string, unknown> = {};
    let found = false;
    for (const member of this.#json.members(range)) {
      const name = this.#json.parse(member.name) as string;
      if (name === 'vocab') {
        this.#vocab = member;
        found = true;
      } else if (name !== 'merges') model[name] = this.#json.parse(member);
    }
    return found ? model : undefined;
  }

  /** Of an object of token → id, or a list of [token, score] in the order of ids. */
  *#pieces(): Generator<{ id: number; piece: JsonRange }, void, undefined> {
    for (const member of this.#json.members(this.#vocab)) {
      yield { id: this.#json.integer(member), piece: member.name };
    }
    let id = 0;
    for (const element of this.#json.elements(this.#vocab)) {
      for (const piece of this.#json.elements(element)) {
        yield { id, piece };
        break;
      }
      id++;
    }
  }
}
