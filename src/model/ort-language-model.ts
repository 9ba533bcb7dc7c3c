/**
 * `LanguageModel` over a pool of worker threads. The main thread checks arguments, groups windows into batches and hands them out;
 * decoding has a worker of its own, so that steps need not wait for batches.
 */
import { KnnLMError } from '../errors.ts';
import { groupBySizes } from './batching.ts';
import type { ChatMessage } from './chat-template.ts';
import type {
  Decoder,
  DecodingOptions,
  LanguageModel,
  ModelInfo,
  ReadOptions,
  ScoredWindow,
} from './language-model.ts';
import type { SessionName } from './model-runtime.ts';
import { ModelWorkerClient } from './model-worker-client.ts';
import { StateRooms } from './state-rooms.ts';
import type { Tokenizer } from './tokenizer.ts';
import type { TokenizerThread } from './tokenizer-thread.ts';
import { checkTokens, WorkerDecoder } from './worker-decoder.ts';
import type { RuntimePlan } from './worker-protocol.ts';

export interface OrtLanguageModelOptions {
  info: ModelInfo;
  tokenizer: Tokenizer;
  chatTemplate: string | undefined;
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
/** Targets and sources have two lengths that both should be alike; a stricter share leaves batches of one. */
const MAX_PAIR_PADDING = 0.25;
/** Batches handed to a worker at once: one runs while the next waits in its mailbox. */
const IN_FLIGHT = 2;

export class OrtLanguageModel implements LanguageModel {
  readonly info: ModelInfo;
  readonly tokenizer: Tokenizer;
  readonly chatTemplate: string | undefined;
  readonly #options: OrtLanguageModelOptions;
  readonly #workers: Promise<ModelWorkerClient>[] = [];
  /** Batches under way, by worker. */
  readonly #load: number[];
  readonly #tokenizerThread: TokenizerThread;
  readonly #rooms: StateRooms;
  #decodeWorker: Promise<ModelWorkerClient> | undefined;
  #closed = false;

  constructor(options: OrtLanguageModelOptions) {
    this.#options = options;
    this.#load = new Array(options.workers).fill(0);
    this.info = options.info;
    this.#rooms = new StateRooms(options.info);
    this.tokenizer = options.tokenizer;
    this.chatTemplate = options.chatTemplate;
    this.#tokenizerThread = options.tokenizerThread;
  }

  async keys(windows: readonly Int32Array[], options: ReadOptions = {}): Promise<Float32Array[]> {
    this.#checkWindows(windows, options);
    const { sources } = options;
    const batches = this.#group(windows, sources, BATCH_TOKENS);
    return this.#runBatches('keys', batches, options, (worker, batch) =>
      worker.request('keys', { windows: pick(windows, batch), sources: pick(sources, batch) }),
    );
  }

  async score(
    windows: readonly Int32Array[],
    targets: readonly Int32Array[],
    options: ReadOptions = {},
  ): Promise<ScoredWindow[]> {
    const { scoreProblem } = this.#options;
    if (scoreProblem) throw new KnnLMError('MODEL_UNSUPPORTED', scoreProblem);
    this.#checkWindows(windows, options);
    this.#checkTargets(windows, targets);
    const { sources } = options;
    const perToken = 4 * this.info.vocabSize;
    const maxTokens = Math.min(BATCH_TOKENS, Math.floor(SCORE_LOGITS_BYTES / perToken));
    const batches = this.#group(windows, sources, maxTokens);
    return this.#runBatches('score', batches, options, (worker, batch) =>
      worker.request('score', {
        windows: pick(windows, batch),
        targets: pick(targets, batch),
        sources: pick(sources, batch),
      }),
    );
  }

  #group(windows: Windows, sources: Windows | undefined, maxTokens: number): number[][] {
    const sizes = windows.map((window, i) => [
      window.length,
      ...(sources ? [sources[i]!.length] : []),
    ]);
    return groupBySizes(sizes, { maxTokens, ...(sources && { maxPadding: MAX_PAIR_PADDING }) });
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

  async encodeChat(messages: readonly ChatMessage[]): Promise<Int32Array> {
    if (this.#closed) throw closedError();
    const ids = await this.#tokenizerThread.encodeChat(messages);
    // What is read begins with it in any case.
    return ids[0] === this.info.bos ? ids.slice(1) : ids;
  }

  async encodeSources(texts: readonly string[]): Promise<Int32Array[]> {
    const { pairs, name } = this.info;
    if (!pairs) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `${name} is a causal model: it reads documents, not pairs of a source and a target.`,
      );
    }
    const { sourcePrefix = '', sourceStart, sourceEnd } = pairs;
    const encoded = await this.encodeDocuments(texts.map((text) => sourcePrefix + text));
    return encoded.map((ids) => Int32Array.from([...sourceStart, ...ids, ...sourceEnd]));
  }

  async startDecoding(
    source?: Int32Array,
    { reuse = false }: DecodingOptions = {},
  ): Promise<Decoder> {
    if (this.#closed) throw closedError();
    this.#checkSources(1, source && [source]);
    const { plan, decodeThreads } = this.#options;
    this.#decodeWorker ??= openWorker({ ...plan, threads: decodeThreads });
    const worker = await this.#decodeWorker;
    await worker.prepare('decode');
    const id = await worker.request('startDecoding', source);
    return new WorkerDecoder(worker, id, { info: this.info, ...(reuse && { rooms: this.#rooms }) });
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

  /** One for each window of an encoder-decoder, none for a causal model. */
  #checkSources(count: number, sources: Windows | undefined): void {
    const { contextLength, vocabSize, pairs, name } = this.info;
    const refuse = (message: string): never => {
      throw new KnnLMError('INVALID_ARGUMENT', message);
    };
    if (pairs && sources?.length !== count) {
      refuse(
        `${name} is an encoder-decoder: it needs a source for each text. Encode it with encodeSources.`,
      );
    }
    if (!pairs && sources) refuse(`${name} is a causal model: it reads no sources.`);
    for (const source of sources ?? []) {
      if (source.length < 1 || source.length > contextLength) {
        refuse(
          `A source must have 1 to ${contextLength} tokens, but has ${source.length}. Split it.`,
        );
      }
      checkTokens(source, vocabSize);
    }
  }

  #checkWindows(windows: Windows, { sources }: ReadOptions): void {
    const { contextLength, vocabSize } = this.info;
    this.#checkSources(windows.length, sources);
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

type Windows = readonly Int32Array[];

function pick(windows: Windows, batch: readonly number[]): Int32Array[];
function pick(windows: Windows | undefined, batch: readonly number[]): Int32Array[] | undefined;
function pick(windows: Windows | undefined, batch: readonly number[]): Int32Array[] | undefined {
  return windows && batch.map((i) => windows[i]!);
}

const closedError = (): KnnLMError => new KnnLMError('ABORTED', 'The model was closed.');
