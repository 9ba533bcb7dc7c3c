/**
 * From what the user calls a model to a folder on this machine. In this order: a bundled model's name, a folder, a model of
 * the Hugging Face hub (`org/name`), which is downloaded once into `KNNLM_HOME` (default ~/.cache/knnlm).
 */
import { readdirSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { KnnLMError } from '../errors.ts';
import { downloadModel, isHubId } from './hub-model.ts';
import type { LoadModelOptions, ModelInfo } from './language-model.ts';

/** The package's own models, beside dist/ (or src/). */
const BUNDLED = fileURLToPath(new URL('../../models/', import.meta.url));

export function knnlmHome(): string {
  return resolve(process.env.KNNLM_HOME || join(homedir(), '.cache', 'knnlm'));
}

export function bundledModels(): string[] {
  try {
    return readdirSync(BUNDLED).filter((name) => isFolder(join(BUNDLED, name)));
  } catch {
    return [];
  }
}

/** @returns absolute path of the model's folder */
export async function resolveModel(
  name: string,
  options: Pick<LoadModelOptions, 'dtype' | 'onDownload' | 'signal'> = {},
): Promise<string> {
  const bundled = bundledModels();
  if (bundled.includes(name)) return join(BUNDLED, name);
  if (isFolder(name)) return resolve(name);
  if (isHubId(name)) {
    return downloadModel(name, { ...options, home: knnlmHome() });
  }
  throw new KnnLMError(
    'MODEL_NOT_FOUND',
    `No model ${JSON.stringify(name)}: it is neither a folder nor a hub id such as onnx-community/SmolLM2-135M-ONNX nor bundled (${bundled.join(', ')}). Check the path.`,
  );
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** A hub id or bundled name as it is; of a folder its name, since where it lies is nobody's business. */
export function modelName({ name, folder }: Pick<ModelInfo, 'name' | 'folder'>): string {
  return resolve(name) === resolve(folder) ? basename(resolve(folder)) : name;
}
