/**
 * A model inside a worker thread: three sessions over one graph file, each made, and checked, on first use.
 *
 *   keys    the graph cut behind the key: no logits, about twice as fast
 *   score   key and log p(target), the log-softmax computed in the graph, so that no logits leave it
 *   decode  key and logits of the last position, with the attention cache going round inside the worker
 *
 * Of a merged export, keys and scores come from its decoder for a text's start, and decoding begins there and goes on in the other.
 * `run()` blocks the thread it is called on, which is why this lives in a worker.
 */
import { KnnLMError } from '../errors.ts';
import { loadOnnxRuntime, type Ort } from '../onnxruntime.ts';
import { buildFeeds, integers, type KvCache } from './graph-feeds.ts';
import type { NextToken, ReadStates, ScoredWindow } from './language-model.ts';
import { logSoftmax } from './log-softmax.ts';
import { firstLine, ModelSession } from './model-session.ts';
import { describeGraph, type GraphDescription } from './onnx/describe-graph.ts';
import { LOG_PROB_OUTPUT, LOG_PROB_TARGETS } from './onnx/log-prob-head.ts';
import type { PatchOptions } from './onnx/patch-graph.ts';
import { readGraph } from './onnx/read-graph.ts';
import { checkCache, checkStates } from './self-check.ts';
import { padded, unpadded, type WindowBatch } from './window-batch.ts';
import type { RuntimePlan } from './worker-protocol.ts';

const KEY = 'knn_key';
const LOGITS = 'knn_logits';
/** Logits of one run while reading a prompt, in bytes; longer prompts are read in parts. */
const PROMPT_LOGITS_BYTES = 64 * 2 ** 20;

export type SessionName = 'keys' | 'score' | 'decode';

/** A graph that can be run, and its key. */
interface Source {
  path: string;
  cached: boolean;
  keyTensor: string;
  description: GraphDescription;
}

interface DecoderState {
  cache: KvCache | undefined;
  /** Tokens read. */
  position: number;
  /** Everything read, for graphs without a cache: they read it all again. */
  tokens: number[];
}

const joined = (parts: readonly Float32Array[]): Float32Array => {
  if (parts.length === 1) return parts[0]!;
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
};

const freshState = (): DecoderState => ({ cache: undefined, position: 0, tokens: [] });

export class ModelRuntime {
  readonly #plan: RuntimePlan;
  readonly #ort: typeof Ort;
  /** Reads a text from its start. */
  readonly #start: Source;
  /** Reads on from the cache: the same graph, but for merged exports. */
  readonly #onward: Source;
  readonly #sessions = new Map<string, Promise<ModelSession>>();
  readonly #prepared = new Map<SessionName, Promise<void>>();
  readonly #decoders = new Map<number, DecoderState>();
  #nextDecoder = 1;

  static async open(plan: RuntimePlan): Promise<ModelRuntime> {
    return new ModelRuntime(plan, await loadOnnxRuntime());
  }

  private constructor(plan: RuntimePlan, ort: typeof Ort) {
    this.#plan = plan;
    this.#ort = ort;
    const { path, keyTensor, onwardKeyTensor } = plan;
    const source = (cached: boolean, tensor: string): Source => ({
      path,
      cached,
      keyTensor: tensor,
      description: describeGraph(readGraph(path, { cached })),
    });
    this.#start = source(false, keyTensor);
    this.#onward = onwardKeyTensor === undefined ? this.#start : source(true, onwardKeyTensor);
  }

  /** Makes the session and checks on a few tokens that it can be relied on. Errors: `MODEL_UNSUPPORTED` when it cannot. */
  prepare(name: SessionName): Promise<void> {
    let prepared = this.#prepared.get(name);
    if (prepared === undefined) {
      prepared = this.#check(name);
      this.#prepared.set(name, prepared);
    }
    return prepared;
  }

  async #check(name: SessionName): Promise<void> {
    const { path, keyTensor } = this.#plan;
    const problem = await this.#problemOf(name).catch((error) => {
      if (error instanceof KnnLMError) throw error;
      return `onnxruntime cannot run it (${firstLine(error)}). Use another export of the model`;
    });
    if (problem === undefined) return;
    throw new KnnLMError(
      'MODEL_UNSUPPORTED',
      `${path} with the key ${keyTensor} failed a check: ${problem}.`,
    );
  }

  #problemOf(name: SessionName): Promise<string | undefined> {
    switch (name) {
      case 'keys':
        return checkStates(
          async (windows) => (await this.#keys(windows)).map((keys) => [keys]),
          this.#plan,
        );
      case 'score':
        return checkStates(async (windows) => {
          const targets = windows.map((window) => new Int32Array(window.length));
          const scored = await this.#score(windows, targets);
          return scored.map(({ keys, logProbs }) => [keys, logProbs]);
        }, this.#plan);
      case 'decode':
        return checkCache(async (parts) => {
          const state = freshState();
          let next: NextToken | undefined;
          for (const part of parts) next = await this.#readOn(state, part);
          return next!;
        }, this.#plan);
    }
  }

  async keys(windows: readonly Int32Array[]): Promise<Float32Array[]> {
    await this.prepare('keys');
    return this.#keys(windows);
  }

  async #keys(windows: readonly Int32Array[]): Promise<Float32Array[]> {
    const session = await this.#session('keys', this.#start, {
      expose: { [KEY]: this.#plan.keyTensor },
      keepOutputs: [],
    });
    const batch = padded(windows);
    const results = await session.run(this.#feeds(session, batch), [KEY]);
    return unpadded(this.#keysOf(results[KEY]!, batch), windows, batch.length);
  }

  async score(
    windows: readonly Int32Array[],
    targets: readonly Int32Array[],
  ): Promise<ScoredWindow[]> {
    await this.prepare('score');
    return this.#score(windows, targets);
  }

  async #score(
    windows: readonly Int32Array[],
    targets: readonly Int32Array[],
  ): Promise<ScoredWindow[]> {
    const session = await this.#session('score', this.#start, {
      expose: { [KEY]: this.#plan.keyTensor },
      logProbsOf: this.#plan.logitsTensor,
      keepOutputs: [],
    });
    const batch = padded(windows);
    const wanted = padded(targets);
    const targetInput = session.inputs.find((input) => input.name === LOG_PROB_TARGETS)!;
    const feeds = this.#feeds(session, batch);
    feeds[LOG_PROB_TARGETS] = integers(
      this.#ort,
      targetInput,
      [batch.count, batch.length],
      (i) => wanted.tokens[i]!,
    );
    const results = await session.run(feeds, [KEY, LOG_PROB_OUTPUT]);
    const keys = unpadded(this.#keysOf(results[KEY]!, batch), windows, batch.length);
    const logProbs = results[LOG_PROB_OUTPUT]!.data as Float32Array;
    const perWindow = unpadded(logProbs, windows, batch.length);
    return keys.map((key, i) => ({ keys: key, logProbs: perWindow[i]! }));
  }

  startDecoding(): number {
    const id = this.#nextDecoder++;
    this.#decoders.set(id, freshState());
    return id;
  }

  resetDecoder(id: number): void {
    Object.assign(this.#decoder(id), freshState());
  }

  endDecoding(id: number): void {
    this.#decoders.delete(id);
  }

  /** Reads the tokens after those read before; the state after the last of them. */
  async read(id: number, tokens: Int32Array): Promise<NextToken> {
    const state = this.#decoder(id);
    await this.prepare('decode');
    return this.#readOn(state, tokens);
  }

  /** Reads the tokens after those read before; the states after each. */
  async readAll(id: number, tokens: Int32Array): Promise<ReadStates> {
    const state = this.#decoder(id);
    await this.prepare('decode');
    const parts: ReadStates[] = [];
    for (let start = 0; start < tokens.length; ) {
      const end = Math.min(tokens.length, start + this.#mostPerRun(state, 0));
      parts.push(await this.#readPart(state, tokens.subarray(start, end), 0));
      start = end;
    }
    return {
      keys: joined(parts.map((p) => p.keys)),
      logProbs: joined(parts.map((p) => p.logProbs)),
    };
  }

  async #readOn(state: DecoderState, tokens: Int32Array): Promise<NextToken> {
    let last: ReadStates | undefined;
    for (let start = 0; start < tokens.length; ) {
      const end = start + this.#mostPerRun(state, 1);
      last = await this.#readPart(state, tokens.subarray(start, end), 1);
      start = end;
    }
    return { key: last!.keys, logProbs: last!.logProbs };
  }

  #mostPerRun({ position }: DecoderState, wanted: 0 | 1): number {
    const { cache, logits, logitsToKeepInput } = this.#onward.description;
    // The second decoder of a merged export may have been traced with one token at a time.
    if (this.#onward.cached && position > 0) return 1;
    if (wanted === 1 && (cache.length === 0 || logitsToKeepInput !== undefined))
      return Number.POSITIVE_INFINITY;
    return Math.max(1, Math.floor(PROMPT_LOGITS_BYTES / 4 / (logits.vocabSize ?? 1)));
  }

  /** @param wanted 1: the last token's state; 0: every token's */
  async #readPart(state: DecoderState, part: Int32Array, wanted: 0 | 1): Promise<ReadStates> {
    const { cache } = this.#onward.description;
    const source = state.position === 0 ? this.#start : this.#onward;
    const session = await this.#session(source.cached ? 'decode onward' : 'decode', source, {
      expose: { [KEY]: source.keyTensor, [LOGITS]: source.description.logits.name },
      keepOutputs: cache.map((pair) => pair.output),
    });
    let tokens = part;
    if (cache.length === 0) {
      state.tokens.push(...part);
      tokens = Int32Array.from(state.tokens);
    }
    const past = cache.length === 0 ? 0 : state.position;
    const results = await session.run(
      buildFeeds(this.#ort, {
        ...this.#plan,
        inputs: session.inputs,
        description: source.description,
        tokens,
        batch: 1,
        length: tokens.length,
        past,
        cache: state.cache,
        logitsToKeep: wanted,
      }),
    );
    state.cache = Object.fromEntries(
      cache.map((pair) => [pair.input.name, results[pair.output] as Ort.Tensor]),
    );
    state.position += part.length;
    const keys = this.#keysOf(results[KEY]!, { count: 1, length: tokens.length });
    const d = keys.length / tokens.length;
    const logits = results[LOGITS]!;
    const vocabSize = logits.dims.at(-1)!;
    const rows = wanted === 1 ? 1 : part.length;
    const all = (logits.data as Float32Array).subarray(logits.size - rows * vocabSize);
    const logProbs = new Float32Array(rows * vocabSize);
    for (let row = 0; row < all.length; row += vocabSize) {
      logProbs.set(logSoftmax(all.subarray(row, row + vocabSize)), row);
    }
    return { keys: keys.slice(keys.length - rows * d), logProbs };
  }

  #feeds({ inputs }: ModelSession, batch: WindowBatch): Record<string, Ort.Tensor> {
    return buildFeeds(this.#ort, {
      ...this.#plan,
      inputs,
      description: this.#start.description,
      tokens: batch.tokens,
      batch: batch.count,
      length: batch.length,
      past: 0,
      logitsToKeep: 0,
    });
  }

  /** (batch · length, d), checked against the width the keys must have. */
  #keysOf(
    tensor: Ort.Tensor,
    { count, length }: Pick<WindowBatch, 'count' | 'length'>,
  ): Float32Array {
    const d = tensor.size / (count * length);
    const expected = this.#plan.keyDim ?? d;
    if (tensor.dims.at(-1) !== d || d !== expected) {
      const width = this.#plan.keyDim === undefined ? '' : ` of ${expected}`;
      throw new KnnLMError(
        'MODEL_UNSUPPORTED',
        `The key tensor ${this.#plan.keyTensor} has shape (${tensor.dims.join(', ')}) for ${count} × ${length} tokens; one vector${width} per token was expected. Choose another with --key or --key-tensor.`,
      );
    }
    return tensor.data as Float32Array;
  }

  #decoder(id: number): DecoderState {
    const state = this.#decoders.get(id);
    if (state === undefined) throw new KnnLMError('INVALID_ARGUMENT', 'This decoder was closed.');
    return state;
  }

  #session(name: string, source: Source, patch: PatchOptions): Promise<ModelSession> {
    let session = this.#sessions.get(name);
    if (session === undefined) {
      const graph = readGraph(source.path, { cached: source.cached });
      const { threads, provider } = this.#plan;
      session = ModelSession.create(this.#ort, graph, { ...patch, threads, provider });
      this.#sessions.set(name, session);
    }
    return session;
  }

  async close(): Promise<void> {
    this.#decoders.clear();
    for (const pending of this.#sessions.values()) {
      const opened = await pending.catch(() => undefined);
      await opened?.release();
    }
    this.#sessions.clear();
  }
}
