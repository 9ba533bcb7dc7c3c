/**
 * `LanguageModel` over a pool of worker threads. The main thread checks arguments, groups windows into batches and hands them out;
 * decoding has a worker of its own, so that steps need not wait for batches.
 */
import { KnnLMError } from '../errors.ts';
import { groupByLength } from './batching.ts';
import type {
  Decoder,
  LanguageModel,
  ModelInfo,
  NextToken,
  ReadOptions,
  ReadStates,
  ScoredWindow,
} from './language-model.ts';
import type { SessionName } from './model-runtime.ts';
import { ModelWorkerClient } from './model-worker-client.ts';
import type { Tokenizer } from './tokenizer.ts';
import type { TokenizerThread } from './tokenizer-thread.ts';
import type { RuntimePlan } from './worker-protocol.ts';

export interface OrtLanguageModelOptions {
  info: ModelInfo;
  tokenizer: Tokenizer;
  /** Closed with the model. */
  tokenizerThread: TokenizerThread;
  plan: RuntimePlan;
  workers: number;
  /** Threads of the decoding worker. */
  decodeThreads: number;
  /** Why `score` cannot work with this graph. */
  scoreProblem: string | undefined;
}

/** Tokens per batch. Measured (`bench/build/ort-throughput.js`): larger batches leave the caches and cost more per token. */
const BATCH_TOKENS = 512;
/** Logits of one scored batch inside onnxruntime, in bytes. */
const SCORE_LOGITS_BYTES = 256 * 2 ** 20;
/** Batches handed to a worker at once: one runs while the next waits in its mailbox. */
const IN_FLIGHT = 2;

export class OrtLanguageModel implements LanguageModel {
  readonly info: ModelInfo;
  readonly tokenizer: Tokenizer;
  readonly #options: OrtLanguageModelOptions;
  readonly #workers: Promise<ModelWorkerClient>[] = [];
  /** Batches under way, by worker. */
  readonly #load: number[];
  readonly #tokenizerThread: TokenizerThread;
  #decodeWorker: Promise<ModelWorkerClient> | undefined;
  #closed = false;

  constructor(options: OrtLanguageModelOptions) {
    this.#options = options;
    this.#load = new Array(options.workers).fill(0);
    this.info = options.info;
    this.tokenizer = options.tokenizer;
    this.#tokenizerThread = options.tokenizerThread;
  }

  async keys(windows: readonly Int32Array[], options: ReadOptions = {}): Promise<Float32Array[]> {
    this.#checkWindows(windows);
    const batches = groupByLength(lengthsOf(windows), { maxTokens: BATCH_TOKENS });
    return this.#runBatches('keys', batches, options, (worker, batch) =>
      worker.request('keys', { windows: batch.map((i) => windows[i]!) }),
    );
  }

  async score(
    windows: readonly Int32Array[],
    targets: readonly Int32Array[],
    options: ReadOptions = {},
  ): Promise<ScoredWindow[]> {
    const { scoreProblem } = this.#options;
    if (scoreProblem) throw new KnnLMError('MODEL_UNSUPPORTED', scoreProblem);
    this.#checkWindows(windows);
    this.#checkTargets(windows, targets);
    const perToken = 4 * this.info.vocabSize;
    const maxTokens = Math.min(BATCH_TOKENS, Math.floor(SCORE_LOGITS_BYTES / perToken));
    const batches = groupByLength(lengthsOf(windows), { maxTokens });
    return this.#runBatches('score', batches, options, (worker, batch) =>
      worker.request('score', {
        windows: batch.map((i) => windows[i]!),
        targets: batch.map((i) => targets[i]!),
      }),
    );
  }

  /** Hands batches to workers as they come free. @returns one result per window, in the windows' order */
  async #runBatches<Result>(
    session: SessionName,
    batches: readonly number[][],
    { signal }: ReadOptions,
    run: (worker: ModelWorkerClient, batch: number[]) => Promise<Result[]>,
  ): Promise<Result[]> {
    const results: Result[] = [];
    let next = 0;
    let failed = false;
    const serve = async (): Promise<void> => {
      while (next < batches.length && !failed) {
        if (signal?.aborted) throw new KnnLMError('ABORTED', 'Reading was stopped.');
        const batch = batches[next++]!;
        const parts = await this.#onFreestWorker(async (worker) => {
          await worker.prepare(session);
          return run(worker, batch);
        });
        for (let i = 0; i < batch.length; i++) results[batch[i]!] = parts[i]!;
      }
    };
    const lanes = Math.min(this.#options.workers * IN_FLIGHT, batches.length);
    const serving = Array.from({ length: lanes }, () =>
      serve().catch((error) => {
        failed = true;
        throw error;
      }),
    );
    // All lanes end before an error is passed on: nothing runs on behind the caller's back.
    const outcomes = await Promise.allSettled(serving);
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    return results;
  }

  encodeDocuments(texts: readonly string[]): Promise<Int32Array[]> {
    if (this.#closed) return Promise.reject(closedError());
    return this.#tokenizerThread.encode(texts);
  }

  async startDecoding(): Promise<Decoder> {
    if (this.#closed) throw closedError();
    const { plan, decodeThreads } = this.#options;
    this.#decodeWorker ??= openWorker({ ...plan, threads: decodeThreads });
    const worker = await this.#decodeWorker;
    await worker.prepare('decode');
    const id = await worker.request('startDecoding', undefined);
    return new WorkerDecoder(worker, id, this.info);
  }

  /** Runs on the worker with the least to do, whichever call gave it the rest: callers with one batch each share the pool too. */
  async #onFreestWorker<Result>(
    run: (worker: ModelWorkerClient) => Promise<Result>,
  ): Promise<Result> {
    if (this.#closed) throw closedError();
    let index = 0;
    for (let i = 1; i < this.#load.length; i++) {
      if (this.#load[i]! < this.#load[index]!) index = i;
    }
    this.#load[index]!++;
    try {
      return await run(await (this.#workers[index] ??= openWorker(this.#options.plan)));
    } finally {
      this.#load[index]!--;
    }
  }

  #checkWindows(windows: readonly Int32Array[]): void {
    const { contextLength, vocabSize } = this.info;
    for (const window of windows) {
      if (window.length < 1 || window.length > contextLength) {
        throw new KnnLMError(
          'INVALID_ARGUMENT',
          `A window must have 1 to ${contextLength} tokens, but has ${window.length}. Split the text.`,
        );
      }
      checkTokens(window, vocabSize);
    }
  }

  #checkTargets(windows: readonly Int32Array[], targets: readonly Int32Array[]): void {
    const fitting =
      targets.length === windows.length &&
      targets.every((target, i) => target.length === windows[i]!.length);
    if (!fitting) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        'Targets must be one per position: as many arrays as windows, each of its window’s length.',
      );
    }
    for (const target of targets) checkTokens(target, this.info.vocabSize);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const opened = [...this.#workers, this.#decodeWorker].filter((worker) => worker !== undefined);
    await Promise.all([
      this.#tokenizerThread.close(),
      ...opened.map(async (worker) => (await worker.catch(() => undefined))?.close()),
    ]);
  }
}

async function openWorker(plan: RuntimePlan): Promise<ModelWorkerClient> {
  const worker = new ModelWorkerClient();
  try {
    await worker.request('open', plan);
    return worker;
  } catch (error) {
    await worker.close();
    throw error;
  }
}

class WorkerDecoder implements Decoder {
  readonly #worker: ModelWorkerClient;
  readonly #id: number;
  readonly #info: ModelInfo;
  #position = 0;
  #closed = false;

  constructor(worker: ModelWorkerClient, id: number, info: ModelInfo) {
    this.#worker = worker;
    this.#id = id;
    this.#info = info;
  }

  get position(): number {
    return this.#position;
  }

  async read(tokens: ArrayLike<number>): Promise<NextToken> {
    return this.#worker.request('read', { decoder: this.#id, tokens: this.#take(tokens) });
  }

  async readAll(tokens: ArrayLike<number>): Promise<ReadStates> {
    return this.#worker.request('readAll', { decoder: this.#id, tokens: this.#take(tokens) });
  }

  /** Checked, and counted as read. */
  #take(tokens: ArrayLike<number>): Int32Array {
    const { contextLength, vocabSize } = this.#info;
    if (this.#closed) throw new KnnLMError('INVALID_ARGUMENT', 'This decoder was closed.');
    if (tokens.length === 0) {
      throw new KnnLMError('INVALID_ARGUMENT', 'A decoder must be given at least one token.');
    }
    if (this.#position + tokens.length > contextLength) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `The model reads at most ${contextLength} tokens, but this would be token ${this.#position + tokens.length}. Reset the decoder and give it a shorter text.`,
      );
    }
    const ids = Int32Array.from(tokens);
    checkTokens(ids, vocabSize);
    this.#position += ids.length;
    return ids;
  }

  reset(): void {
    this.#position = 0;
    // The worker answers in order: a read that follows sees the reset. Its failure would show in that read.
    this.#worker.request('reset', this.#id).catch(() => {});
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#worker.request('endDecoding', this.#id).catch(() => {});
  }
}

function checkTokens(ids: Int32Array, vocabSize: number): void {
  for (let i = 0; i < ids.length; i++) {
    if (ids[i]! >= 0 && ids[i]! < vocabSize) continue;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `Token ids must lie between 0 and ${vocabSize - 1}, but one is ${ids[i]}. Encode the text with this model's tokenizer.`,
    );
  }
}

const lengthsOf = (windows: readonly Int32Array[]): number[] =>
  windows.map((window) => window.length);

const closedError = (): KnnLMError => new KnnLMError('ABORTED', 'The model was closed.');
