/** Opens a model by name, folder or hub id: a `LanguageModel` ready to read. Sessions and threads start on first use. */
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { KnnLMError } from '../errors.ts';
import { chooseProvider, DEVICES, type Provider } from './device.ts';
import { createLazyTokenizer } from './hf-tokenizer.ts';
import type { LanguageModel, LoadModelOptions } from './language-model.ts';
import { DEFAULT_KEY } from './model-facts.ts';
import { type GraphFile, listGraphs, readTokenizerJson, requireJson } from './model-files.ts';
import { ModelWorkerClient } from './model-worker-client.ts';
import { OrtLanguageModel } from './ort-language-model.ts';
import { resolveModel } from './resolve-model.ts';
import { TokenizerThread } from './tokenizer-thread.ts';
import type { RuntimePlan } from './worker-protocol.ts';

/**
 * Errors: `MODEL_NOT_FOUND`, `MODEL_INVALID` (files missing or broken), `MODEL_UNSUPPORTED` (not a causal model that gives
 * keys, or an unusable dtype), `DOWNLOAD_FAILED`.
 */
export async function loadModel(
  nameOrFolder: string,
  options: LoadModelOptions = {},
): Promise<LanguageModel> {
  checkCount('workers', options.workers);
  checkCount('threads', options.threads);
  checkCount('cacheBytes', options.cacheBytes);
  const folder = await resolveModel(nameOrFolder, options);
  await requireJson(folder);
  const graphs = await listGraphs(folder);
  const tokenizerThread = new TokenizerThread(folder);
  try {
    return await open({ name: nameOrFolder, folder, graphs, tokenizerThread }, options);
  } catch (error) {
    await tokenizerThread.close();
    throw error;
  }
}

interface ModelFolder {
  /** As the user named it. */
  name: string;
  folder: string;
  graphs: readonly GraphFile[];
  tokenizerThread: TokenizerThread;
}

async function open(
  { name, folder, graphs, tokenizerThread }: ModelFolder,
  options: LoadModelOptions,
): Promise<LanguageModel> {
  const { dtype, key = DEFAULT_KEY, keyTensor } = options;
  const request = { folder, graphs, dtype, key, keyTensor, describeAll: false };
  // Meanwhile the graph is looked at.
  tokenizerThread.start();
  const inspection = await withWorker((worker) => worker.request('inspect', request));
  // Without describeAll an inspection throws rather than choose nothing.
  const chosen = inspection.chosen!;
  const facts = await tokenizerThread.facts({
    name,
    request,
    graph: chosen,
    pairs: options.pairs,
  });
  const { info } = facts;
  const { cacheBytes = defaultCacheBytes() } = options;
  const plan: RuntimePlan = { ...facts.plan, provider: 'cpu', threads: 1, cacheBytes };
  if (keyTensor !== undefined && chosen.keyDim === undefined) {
    plan.keyDim = info.keyDim = await measureKeyDim(plan, info.bos);
  }
  plan.provider = info.fingerprint.provider = await providerFor(plan, options);
  // One device has one memory: more workers would only wait for one another.
  const single = plan.provider === 'cpu' ? {} : { workers: 1 };
  const { workers, threads, decodeThreads } = poolSize({ ...single, ...options }, chosen.bytes);
  return new OrtLanguageModel({
    info,
    tokenizer: await createLazyTokenizer({
      facts: await tokenizerThread.tokens(),
      readJson: () => readTokenizerJson(folder),
      bos: info.bos,
      eos: info.eos,
    }),
    chatTemplate: facts.chatTemplate,
    tokenizerThread,
    workers,
    decodeThreads,
    plan: { ...plan, threads },
    scoreProblem: chosen.lastPositionOnly
      ? `${join(folder, info.file)} gives logits of the last position only, so text cannot be scored with it. Use an export with all logits.`
      : undefined,
  });
}

async function providerFor(
  plan: RuntimePlan,
  { device = 'cpu', onWarning }: LoadModelOptions,
): Promise<Provider> {
  if (!DEVICES.includes(device)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `device must be one of ${DEVICES.join(', ')}, but is ${JSON.stringify(device)}.`,
    );
  }
  const compare = (provider: Provider): Promise<number> =>
    withWorker((worker) => worker.request('compareProvider', { ...plan, provider }));
  const { provider, notes } = await chooseProvider(device, compare);
  for (const note of notes) onWarning?.(note);
  return provider;
}

/** Width of a tensor that the graph does not state: reads two tokens, which a tensor that mixes positions gives away. */
function measureKeyDim(plan: RuntimePlan, bos: number): Promise<number> {
  return withWorker(async (worker) => {
    await worker.request('open', { ...plan, keyDim: undefined });
    const [key] = await worker.request('keys', { windows: [Int32Array.of(bos, bos)] });
    return key!.length / 2;
  });
}

/** Runs requests in a worker of their own. */
export async function withWorker<Result>(
  run: (worker: ModelWorkerClient) => Promise<Result>,
): Promise<Result> {
  const worker = new ModelWorkerClient();
  try {
    return await run(worker);
  } finally {
    await worker.close();
  }
}

function checkCount(name: string, value: number | undefined): void {
  if (value === undefined || (Number.isInteger(value) && value > 0)) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${name} must be a whole number above 0, but is ${value}.`,
  );
}

const defaultCacheBytes = (): number => Math.min(2 ** 30, Math.floor(totalmem() / 4));

/** Every worker holds the weights: all of them together should stay under this, in bytes. */
const POOL_WEIGHT_BYTES = 2 ** 30;

/** A step of a model below this size is too short to share: two threads took 1.5 times as long as one. In bytes. */
const ONE_THREAD_BYTES = 64 * 2 ** 20;

/**
 * As many workers of one thread as there are cores: on two idle cores they read 12% more tokens a second than one worker of
 * two threads, which wait for each other (`docs/results/build.md`). Models of gigabytes: few workers, the cores divided among them.
 */
function poolSize(
  options: LoadModelOptions,
  weightBytes: number,
): { workers: number; threads: number; decodeThreads: number } {
  const cores = availableParallelism();
  const affordable = Math.floor(POOL_WEIGHT_BYTES / weightBytes);
  const useful = Math.floor(cores / (options.threads ?? 1));
  const workers = options.workers ?? Math.max(1, Math.min(useful, affordable));
  const threads = options.threads ?? Math.max(1, Math.floor(cores / workers));
  const decodeThreads = options.threads ?? (weightBytes < ONE_THREAD_BYTES ? 1 : cores);
  return { workers, threads, decodeThreads };
}
