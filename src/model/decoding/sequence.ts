/** A decoder's text: how far it is read, where its attention cache is, and what is still asked of it. */
import type { ReadStates } from '../language-model.ts';
import type { CacheBlock } from './cache-block.ts';
import { type DecoderState, freshState } from './graph-decoder.ts';

/** Tokens to be read after those before, and who waits for it. */
export interface ReadRequest {
  tokens: Int32Array;
  /** The states after each of the tokens, or after the last one only; or the keys after each, and log-probabilities after the last. */
  wanted: 'all' | 'keys' | 'last';
  /** Of several texts side by side: those that the tokens continue, one each. */
  parents?: readonly number[];
  resolve: (states: ReadStates) => void;
  reject: (error: unknown) => void;
}

export class Sequence {
  /** What is read, and the cache; in a block the block has it. */
  state: DecoderState;
  /** The block that has its cache. */
  block: CacheBlock | undefined;
  /** Tokens to be read for the first request, those of a text that lost its cache before them. */
  unread: number[] = [];
  /** What is asked of it, in order. */
  readonly queue: (ReadRequest | 'reset')[] = [];
  /** The request that is being answered. */
  current: ReadRequest | undefined;
  /** States of its tokens, as far as they are read. */
  parts: ReadStates[] = [];
  /** Nobody will ask for anything more. */
  ended = false;
  /** When something was last asked of it or answered, in milliseconds of `performance.now()`. */
  touched = performance.now();
  /** When its last answer was given, until something else is asked. */
  answered: number | undefined;

  constructor(state: DecoderState) {
    this.state = state;
  }

  /** Tokens in the cache; without one, tokens read. */
  get cached(): number {
    return this.state.position;
  }

  get hasOwnCache(): boolean {
    return this.ownBytes > 0;
  }

  get hasCache(): boolean {
    return this.block !== undefined || this.hasOwnCache;
  }

  /** Bytes of a cache of its own. */
  get ownBytes(): number {
    let bytes = 0;
    for (const { data } of Object.values(this.state.cache ?? {})) {
      bytes += (data as Float32Array).byteLength;
    }
    return bytes;
  }

  get isAsked(): boolean {
    return this.current !== undefined || this.queue.length > 0;
  }

  /** It goes on from several texts side by side, or with several. */
  get isFork(): boolean {
    const { parents } = this.current ?? {};
    return parents !== undefined && (this.state.rows > 1 || parents.length > 1);
  }

  /** Tokens to be read again before those of the request. */
  get lost(): number {
    return Math.max(0, this.unread.length - this.#fresh);
  }

  /** Tokens of the request that are, or were, among `unread`. */
  get #fresh(): number {
    return this.isFork ? 0 : (this.current?.tokens.length ?? 0);
  }

  /** Keeps the states of tokens just read. */
  take(states: ReadStates): void {
    if (this.current!.wanted === 'last') this.parts = [states];
    else this.parts.push(states);
  }

  /** Gives what was asked for. */
  answer(): void {
    const { current, parts } = this;
    this.current = undefined;
    this.parts = [];
    this.touched = performance.now();
    this.answered = this.touched;
    const all = (name: keyof ReadStates): Float32Array => joined(parts.map((part) => part[name]));
    const logProbs = current!.wanted === 'keys' ? parts.at(-1)!.logProbs : all('logProbs');
    current!.resolve({ keys: all('keys'), logProbs });
  }

  /** The request is given up, and its tokens are not read. */
  fail(error: unknown): void {
    const { current } = this;
    if (!current) return;
    const fresh = this.#fresh;
    // Some of them may be in the cache.
    if (this.unread.length < fresh) this.dropCache();
    this.unread.length -= Math.min(fresh, this.unread.length);
    this.current = undefined;
    this.parts = [];
    current.reject(error);
  }

  /** Gives its memory back. What was read is read again when it is needed. */
  dropCache(): void {
    this.block?.remove(this);
    this.unread = [...this.state.tokens[0]!, ...this.unread];
    this.state = freshState(this.state.sources);
    this.parts = [];
  }

  /** Forgets the text; a source stays. */
  reset(sources = this.state.sources): void {
    this.block?.remove(this);
    this.state = freshState(sources);
    this.unread = [];
    this.parts = [];
  }
}

function joined(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0]!;
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
