/**
 * A model inside a worker thread: three sessions over its decoder, each made, and checked, on first use.
 *
 *   keys    the graph cut behind the key: no logits, about twice as fast
 *   score   key and log p(target), the log-softmax computed in the graph, so that no logits leave it
 *   decode  key and logits of the last position, with the attention cache going round inside the worker (`decoding/`)
 *
 * Keys and scores come from the decoder for a text's start; decoding begins there, and of exports with a second decoder it goes
 * on in that. An encoder-decoder has a session more: the encoder, which runs once for a batch of sources or a decoder.
 * `run()` blocks the thread it is called on, which is why this lives in a worker.
 */
import { KnnLMError } from '../errors.ts';
import { loadOnnxRuntime, type Ort } from '../onnxruntime.ts';
import { Decoding } from './decoding/decoding.ts';
import { freshState, GraphDecoder } from './decoding/graph-decoder.ts';
import { buildFeeds, integers } from './graph-feeds.ts';
import { keyRows } from './key-rows.ts';
import type { NextToken, ReadStates, ScoredWindow } from './language-model.ts';
import { ModelGraphs } from './model-graphs.ts';
import { firstLine, type ModelSession } from './model-session.ts';
import { BEST_OUTPUT, LOG_PROB_OUTPUT, LOG_PROB_TARGETS } from './onnx/log-prob-head.ts';
import { checkCache, checkSource, checkStates, probes } from './self-check.ts';
import { type EncodedSources, SourceEncoder } from './source-encoder.ts';
import { padded, unpadded, type WindowBatch } from './window-batch.ts';
import type { RuntimePlan } from './worker-protocol.ts';

const KEY = 'knn_key';

export type SessionName = 'keys' | 'score' | 'decode';
type Windows = readonly Int32Array[];

export class ModelRuntime {
  readonly #graphs: ModelGraphs;
  /** Of an encoder-decoder. */
  readonly #encoder: SourceEncoder | undefined;
  readonly #prepared = new Map<SessionName, Promise<void>>();
  readonly #decoding: Decoding;

  static async open(plan: RuntimePlan): Promise<ModelRuntime> {
    return new ModelRuntime(new ModelGraphs(plan, await loadOnnxRuntime()));
  }

  private constructor(graphs: ModelGraphs) {
    const { encoderPath } = graphs.plan;
    this.#graphs = graphs;
    this.#encoder = encoderPath === undefined ? undefined : new SourceEncoder(graphs, encoderPath);
    this.#decoding = new Decoding(graphs);
  }

  get #plan(): RuntimePlan {
    return this.#graphs.plan;
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
        return this.#problemOfKeys();
      case 'score':
        return checkStates(async (windows) => {
          const targets = windows.map((window) => new Int32Array(window.length));
          const scored = await this.#score(windows, targets, this.#probeSources(windows));
          return scored.map(({ keys, logProbs }) => [keys, logProbs]);
        }, this.#plan);
      case 'decode':
        return checkCache(async (parts) => {
          const [source] = this.#probeSources(parts.slice(0, 1)) ?? [];
          const state = freshState(await this.#encode(source && [source]));
          const decoder = new GraphDecoder(this.#graphs);
          let last: ReadStates | undefined;
          for (const part of parts) last = await decoder.read(state, part);
          return { key: last!.keys, logProbs: last!.logProbs };
        }, this.#plan);
    }
  }

  async #problemOfKeys(): Promise<string | undefined> {
    const problem = await checkStates(async (windows) => {
      const keys = await this.#keys(windows, this.#probeSources(windows));
      return keys.map((one) => [one]);
    }, this.#plan);
    if (problem !== undefined || this.#encoder === undefined) return problem;
    const read = async (window: Int32Array, source: Int32Array) =>
      (await this.#keys([window], [source]))[0]!;
    return await checkSource(read, this.#plan);
  }

  /** For windows of a probe: a long source for long ones, a short one for the short, so that a batch of both is padded. */
  #probeSources(windows: Windows): Windows | undefined {
    if (this.#encoder === undefined) return undefined;
    const { text, short } = probes(this.#plan);
    return windows.map((window) => (window.length > short.length ? text : short));
  }

  /** @param sources of an encoder-decoder, one per window */
  async keys(windows: Windows, sources?: Windows): Promise<Float32Array[]> {
    await this.prepare('keys');
    return this.#keys(windows, sources);
  }

  async #keys(windows: Windows, sources: Windows | undefined): Promise<Float32Array[]> {
    const session = await this.#graphs.session('keys', this.#graphs.start, {
      expose: { [KEY]: this.#plan.keyTensor },
      keepOutputs: [],
    });
    const batch = padded(windows);
    const feeds = this.#feeds(session, batch, await this.#encode(sources));
    const results = await session.run(feeds, [KEY]);
    return unpadded(this.#keysOf(results[KEY]!, batch), windows, batch.length);
  }

  async score(windows: Windows, targets: Windows, sources?: Windows): Promise<ScoredWindow[]> {
    await this.prepare('score');
    return this.#score(windows, targets, sources);
  }

  async #score(
    windows: Windows,
    targets: Windows,
    sources: Windows | undefined,
  ): Promise<ScoredWindow[]> {
    const session = await this.#graphs.session('score', this.#graphs.start, {
      expose: { [KEY]: this.#plan.keyTensor },
      logProbsOf: this.#plan.logitsTensor,
      keepOutputs: [],
    });
    const batch = padded(windows);
    const wanted = padded(targets);
    const targetInput = session.inputs.find((input) => input.name === LOG_PROB_TARGETS)!;
    const feeds = this.#feeds(session, batch, await this.#encode(sources));
    feeds[LOG_PROB_TARGETS] = integers(
      this.#graphs.ort,
      targetInput,
      [batch.count, batch.length],
      (i) => wanted.tokens[i]!,
    );
    const results = await session.run(feeds, [KEY, LOG_PROB_OUTPUT, BEST_OUTPUT]);
    const perWindow = (values: Float32Array) => unpadded(values, windows, batch.length);
    const keys = perWindow(this.#keysOf(results[KEY]!, batch));
    const logProbs = perWindow(results[LOG_PROB_OUTPUT]!.data as Float32Array);
    const best = perWindow(results[BEST_OUTPUT]!.data as Float32Array);
    return keys.map((key, i) => ({ keys: key, logProbs: logProbs[i]!, best: best[i]! }));
  }

  /** Bytes of the attention caches of all decoders. */
  get cacheBytes(): number {
    return this.#decoding.cacheBytes;
  }

  /** Whether the next tokens of several decoders are read together, where they wait at the same time. */
  async sharesSteps(): Promise<boolean> {
    await this.prepare('decode');
    return this.#decoding.sharesSteps();
  }

  /** @param source of an encoder-decoder: encoded here, once for all that is read */
  async startDecoding(source?: Int32Array): Promise<number> {
    return this.#decoding.start(await this.#encode(source && [source]));
  }

  resetDecoder(id: number): void {
    this.#decoding.reset(id);
  }

  endDecoding(id: number): void {
    this.#decoding.end(id);
  }

  /** Reads the tokens after those read before; the state after the last of them. */
  async read(id: number, tokens: Int32Array): Promise<NextToken> {
    await this.prepare('decode');
    return this.#decoding.read(id, tokens);
  }

  /** Reads the tokens after those read before; the states after each, with `keys` log-probabilities after the last alone. */
  async readAll(
    id: number,
    tokens: Int32Array,
    wanted: 'all' | 'keys' = 'all',
  ): Promise<ReadStates> {
    await this.prepare('decode');
    return this.#decoding.readAll(id, tokens, wanted);
  }

  /** `Decoder.step` */
  async step(id: number, parents: readonly number[], tokens: Int32Array): Promise<ReadStates> {
    await this.prepare('decode');
    return this.#decoding.step(id, parents, tokens);
  }

  async #encode(sources: Windows | undefined): Promise<EncodedSources | undefined> {
    if (this.#encoder === undefined) return undefined;
    if (sources === undefined) throw new Error('An encoder-decoder was given no source.');
    return this.#encoder.encode(sources);
  }

  #feeds(
    { inputs }: ModelSession,
    batch: WindowBatch,
    sources: EncodedSources | undefined,
  ): Record<string, Ort.Tensor> {
    return buildFeeds(this.#graphs.ort, {
      ...this.#plan,
      inputs,
      description: this.#graphs.start.description,
      tokens: batch.tokens,
      batch: batch.count,
      length: batch.length,
      past: 0,
      sources,
      logitsToKeep: 0,
    });
  }

  #keysOf(tensor: Ort.Tensor, { count, length }: WindowBatch): Float32Array {
    return keyRows(tensor, { batch: count, length }, this.#plan);
  }

  async close(): Promise<void> {
    this.#decoding.close();
    await this.#graphs.close();
  }
}
