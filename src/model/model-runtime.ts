/**
 * A model inside a worker thread: three sessions over one graph file, each made on first use.
 *
 *   keys    the graph cut behind the key: no logits, about twice as fast
 *   score   key and log p(target), the log-softmax computed in the graph, so that no logits leave it
 *   decode  key and logits of the last position, with the attention cache going round inside the worker
 *
 * `run()` blocks the thread it is called on, which is why this lives in a worker.
 */
import { dirname } from 'node:path';
import { KnnLMError } from '../errors.ts';
import { loadOnnxRuntime, type Ort } from '../onnxruntime.ts';
import { buildFeeds, integers, type KvCache } from './graph-feeds.ts';
import type { NextToken, ScoredWindow } from './language-model.ts';
import { logSoftmax } from './log-softmax.ts';
import { describeGraph, type GraphDescription } from './onnx/describe-graph.ts';
import { LOG_PROB_OUTPUT, LOG_PROB_TARGETS } from './onnx/log-prob-head.ts';
import { type PatchedGraph, type PatchOptions, patchGraph } from './onnx/patch-graph.ts';
import { readGraph } from './onnx/read-graph.ts';
import type { RuntimePlan } from './worker-protocol.ts';

const KEY = 'knn_key';
const LOGITS = 'knn_logits';
/** Logits of one run while reading a prompt, in bytes; longer prompts are read in parts. */
const PROMPT_LOGITS_BYTES = 64 * 2 ** 20;

interface Session {
  session: Ort.InferenceSession;
  inputs: PatchedGraph['inputs'];
}

interface DecoderState {
  cache: KvCache | undefined;
  /** Tokens read. */
  position: number;
  /** Everything read, for graphs without a cache: they read it all again. */
  tokens: number[];
}

export class ModelRuntime {
  readonly #plan: RuntimePlan;
  readonly #ort: typeof Ort;
  readonly #description: GraphDescription;
  readonly #sessions = new Map<string, Promise<Session>>();
  readonly #decoders = new Map<number, DecoderState>();
  #nextDecoder = 1;

  static async open(plan: RuntimePlan): Promise<ModelRuntime> {
    return new ModelRuntime(plan, await loadOnnxRuntime());
  }

  private constructor(plan: RuntimePlan, ort: typeof Ort) {
    this.#plan = plan;
    this.#ort = ort;
    this.#description = describeGraph(readGraph(plan.path));
  }

  async keys(windows: readonly Int32Array[]): Promise<Float32Array[]> {
    const { session, inputs } = await this.#session('keys', {
      expose: { [KEY]: this.#plan.keyTensor },
      keepOutputs: [],
    });
    const batch = padded(windows);
    const results = await run(session, this.#feeds(inputs, batch), [KEY]);
    return unpadded(this.#keysOf(results[KEY]!, batch), windows, batch.length);
  }

  async score(
    windows: readonly Int32Array[],
    targets: readonly Int32Array[],
  ): Promise<ScoredWindow[]> {
    const { session, inputs } = await this.#session('score', {
      expose: { [KEY]: this.#plan.keyTensor },
      logProbsOf: this.#plan.logitsTensor,
      keepOutputs: [],
    });
    const batch = padded(windows);
    const wanted = padded(targets);
    const targetInput = inputs.find((input) => input.name === LOG_PROB_TARGETS)!;
    const feeds = this.#feeds(inputs, batch);
    feeds[LOG_PROB_TARGETS] = integers(
      this.#ort,
      targetInput,
      [batch.count, batch.length],
      (i) => wanted.tokens[i]!,
    );
    const results = await run(session, feeds, [KEY, LOG_PROB_OUTPUT]);
    const keys = unpadded(this.#keysOf(results[KEY]!, batch), windows, batch.length);
    const logProbs = results[LOG_PROB_OUTPUT]!.data as Float32Array;
    const perWindow = unpadded(logProbs, windows, batch.length);
    return keys.map((key, i) => ({ keys: key, logProbs: perWindow[i]! }));
  }

  startDecoding(): number {
    const id = this.#nextDecoder++;
    this.#decoders.set(id, { cache: undefined, position: 0, tokens: [] });
    return id;
  }

  resetDecoder(id: number): void {
    Object.assign(this.#decoder(id), { cache: undefined, position: 0, tokens: [] });
  }

  endDecoding(id: number): void {
    this.#decoders.delete(id);
  }

  /** Reads the tokens after those read before; the state after the last of them. */
  async read(id: number, tokens: Int32Array): Promise<NextToken> {
    const state = this.#decoder(id);
    const { cache, logits, logitsToKeepInput } = this.#description;
    const perRun =
      cache.length === 0 || logitsToKeepInput !== undefined
        ? tokens.length
        : Math.max(1, Math.floor(PROMPT_LOGITS_BYTES / 4 / (logits.vocabSize ?? 1)));
    let next: NextToken | undefined;
    for (let start = 0; start < tokens.length; start += perRun) {
      next = await this.#readPart(state, tokens.subarray(start, start + perRun));
    }
    return next!;
  }

  async #readPart(state: DecoderState, part: Int32Array): Promise<NextToken> {
    const { cache } = this.#description;
    const { session, inputs } = await this.#session('decode', {
      expose: { [KEY]: this.#plan.keyTensor, [LOGITS]: this.#plan.logitsTensor },
      keepOutputs: cache.map((pair) => pair.output),
    });
    let tokens = part;
    if (cache.length === 0) {
      state.tokens.push(...part);
      tokens = Int32Array.from(state.tokens);
    }
    const past = cache.length === 0 ? 0 : state.position;
    const results = await run(
      session,
      buildFeeds(this.#ort, {
        ...this.#plan,
        inputs,
        description: this.#description,
        tokens,
        batch: 1,
        length: tokens.length,
        past,
        cache: state.cache,
        logitsToKeep: 1,
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
    const last = (logits.data as Float32Array).subarray(logits.size - vocabSize);
    return { key: keys.slice(keys.length - d), logProbs: logSoftmax(last) };
  }

  #feeds(inputs: PatchedGraph['inputs'], batch: Batch): Record<string, Ort.Tensor> {
    return buildFeeds(this.#ort, {
      ...this.#plan,
      inputs,
      description: this.#description,
      tokens: batch.tokens,
      batch: batch.count,
      length: batch.length,
      past: 0,
      logitsToKeep: 0,
    });
  }

  /** (batch · length, d), checked against the width the keys must have. */
  #keysOf(tensor: Ort.Tensor, { count, length }: Pick<Batch, 'count' | 'length'>): Float32Array {
    const d = tensor.size / (count * length);
    const expected = this.#plan.keyDim ?? d;
    if (tensor.dims.at(-1) !== d || d !== expected) {
      throw new KnnLMError(
        'MODEL_UNSUPPORTED',
        `The key tensor ${this.#plan.keyTensor} has shape (${tensor.dims.join(', ')}) for ${count} × ${length} tokens; one vector of ${expected} per token was expected. Choose another with --key or --key-tensor.`,
      );
    }
    return tensor.data as Float32Array;
  }

  #decoder(id: number): DecoderState {
    const state = this.#decoders.get(id);
    if (state === undefined) throw new KnnLMError('INVALID_ARGUMENT', 'This decoder was closed.');
    return state;
  }

  #session(name: string, patch: PatchOptions): Promise<Session> {
    let session = this.#sessions.get(name);
    if (session === undefined) {
      session = this.#createSession(patch);
      this.#sessions.set(name, session);
    }
    return session;
  }

  async #createSession(patch: PatchOptions): Promise<Session> {
    const { path, threads } = this.#plan;
    const patched = patchGraph(readGraph(path), patch);
    const session: Record<string, unknown> = {
      // Threads that spin between runs take the cores from search and from the other workers.
      intra_op: { allow_spinning: '0' },
    };
    if (patched.externalFiles.length > 0) {
      session.model_external_initializers_file_folder_path = dirname(path);
    }
    try {
      const created = await this.#ort.InferenceSession.create(patched.bytes, {
        executionProviders: ['cpu'],
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        graphOptimizationLevel: 'all',
        // Warnings of onnxruntime would go to standard error, past the caller.
        logSeverityLevel: 3,
        extra: { session },
      });
      return { session: created, inputs: patched.inputs };
    } catch (cause) {
      throw new KnnLMError(
        'MODEL_INVALID',
        `onnxruntime cannot load ${path}: ${firstLine(cause)} Download the model again or choose another dtype.`,
        { cause },
      );
    }
  }

  async close(): Promise<void> {
    this.#decoders.clear();
    for (const pending of this.#sessions.values()) {
      const opened = await pending.catch(() => undefined);
      await opened?.session.release();
    }
    this.#sessions.clear();
  }
}

async function run(
  session: Ort.InferenceSession,
  feeds: Record<string, Ort.Tensor>,
  outputs: readonly string[] = session.outputNames,
): Promise<Ort.InferenceSession.ReturnType> {
  try {
    return await session.run(feeds, outputs);
  } catch (cause) {
    const message = firstLine(cause);
    if (!/alloc/i.test(message)) throw cause;
    throw new KnnLMError(
      'IO',
      `The model ran out of memory (${message}). Use fewer workers, a smaller window or a smaller dtype.`,
      { cause },
    );
  }
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0]!;
}

interface Batch {
  /** (count, length), row-major; windows shorter than the longest end in zeros. */
  tokens: Int32Array;
  count: number;
  length: number;
}

function padded(windows: readonly Int32Array[]): Batch {
  const count = windows.length;
  const length = windows.reduce((longest, window) => Math.max(longest, window.length), 0);
  if (count === 1) return { tokens: windows[0]!, count, length };
  const tokens = new Int32Array(count * length);
  for (let i = 0; i < count; i++) tokens.set(windows[i]!, i * length);
  return { tokens, count, length };
}

/** Rows of a (count, length, width) result that belong to real tokens, one array of its own per window. */
function unpadded(
  values: Float32Array,
  windows: readonly Int32Array[],
  length: number,
): Float32Array[] {
  const width = values.length / (windows.length * length);
  if (windows.length === 1) return [values];
  return windows.map((window, i) => {
    const start = i * length * width;
    return values.slice(start, start + window.length * width);
  });
}
