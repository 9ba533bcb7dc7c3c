/** Opens a model by name, folder or hub id: a `LanguageModel` ready to read. Sessions and threads start on first use. */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { KnnLMError } from '../errors.ts';
import { createHfTokenizer } from './hf-tokenizer.ts';
import type { LanguageModel, LoadModelOptions } from './language-model.ts';
import { DEFAULT_KEY, readModelFacts } from './model-facts.ts';
import { listGraphs, readModelJson } from './model-files.ts';
import { ModelWorkerClient } from './model-worker-client.ts';
import { OrtLanguageModel } from './ort-language-model.ts';
import { resolveModel } from './resolve-model.ts';

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
  const folder = await resolveModel(nameOrFolder, options);
  const [json, graphs] = await Promise.all([readModelJson(folder), listGraphs(folder)]);
  const { dtype, key = DEFAULT_KEY, keyTensor } = options;
  const request = { folder, graphs, dtype, key, keyTensor, describeAll: false };
  const inspection = await withWorker((worker) => worker.request('inspect', request));
  const facts = readModelFacts(nameOrFolder, json, request, inspection.chosen!);
  const { info } = facts;
  const { workers, threads } = poolSize(options);
  return new OrtLanguageModel({
    info,
    tokenizer: await createHfTokenizer({ json: json.tokenizer, bos: info.bos, eos: info.eos }),
    workers,
    plan: { ...facts.plan, threads },
    scoreProblem: inspection.chosen!.lastPositionOnly
      ? `${join(folder, info.file)} gives logits of the last position only, so text cannot be scored with it. Use an export with all logits.`
      : undefined,
  });
}

/** Runs one request in a worker of its own. */
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

function poolSize(options: LoadModelOptions): { workers: number; threads: number } {
  const cores = availableParallelism();
  const workers = options.workers ?? 1;
  return { workers, threads: options.threads ?? Math.max(1, Math.floor(cores / workers)) };
}
