/** What a model folder or hub id offers, without running anything: `knnlm model M`. */
import type { InspectedGraph } from './inspect-model.ts';
import type { KeyName, LoadModelOptions, ModelInfo } from './language-model.ts';
import { withWorker } from './load-model.ts';
import { DEFAULT_KEY } from './model-facts.ts';
import { listGraphs, requireJson } from './model-files.ts';
import type { KeyLocation } from './onnx/locate-keys.ts';
import { resolveModel } from './resolve-model.ts';
import type { TokenizerKind } from './tokenizer.ts';

export interface ModelDescription {
  name: string;
  folder: string;
  /** All graphs of the folder, each with its problems: empty when it can be used. */
  graphs: InspectedGraph[];
  /** The model as `loadModel` would open it; undefined when no graph can be used. */
  info: ModelInfo | undefined;
  /** Where each of the six keys is, or why it was not found. */
  keys: Record<KeyName, KeyLocation> | undefined;
  tokenizer: { kind: TokenizerKind; size: number } | undefined;
  /** Which rule gave the tokens before and after a document, and how the tokenizer writes them. */
  boundary: { bos: BoundaryToken; eos: BoundaryToken } | undefined;
  /** Of an encoder-decoder: the graph of its encoder. */
  encoder?: string;
  /** Whether decoding keeps an attention cache, and whether text can be scored. */
  capabilities: { cache: boolean; score: boolean } | undefined;
  warnings: string[];
}

export interface BoundaryToken {
  id: number;
  text: string;
  rule: string;
}

/** Reads the JSON files and the structure of every graph: under a second for a model of gigabytes. */
export async function describeModel(
  nameOrFolder: string,
  options: LoadModelOptions = {},
): Promise<ModelDescription> {
  const folder = await resolveModel(nameOrFolder, options);
  await requireJson(folder);
  const files = await listGraphs(folder);
  const { dtype, key = DEFAULT_KEY, keyTensor } = options;
  const request = { folder, graphs: files, dtype, key, keyTensor, describeAll: true };
  return await withWorker(async (worker) => {
    const { graphs, chosen } = await worker.request('inspect', request);
    const description: ModelDescription = {
      name: nameOrFolder,
      folder,
      graphs,
      info: undefined,
      keys: undefined,
      tokenizer: undefined,
      boundary: undefined,
      capabilities: undefined,
      warnings: [],
    };
    if (chosen === undefined) return description;
    // A key that is nowhere must not hide the others from whoever asks what there is.
    const fallback = Object.values(chosen.keys).find((location) => location.tensor !== undefined);
    const graph = { ...chosen, keyTensor: chosen.keyTensor ?? fallback?.tensor };
    const facts = await worker.request('facts', {
      name: nameOrFolder,
      request,
      graph,
      pairs: options.pairs,
      describing: true,
    });
    const { info, tokenizer, boundary, boundaryTexts, warnings } = facts;
    return {
      ...description,
      info,
      keys: chosen.keys,
      ...(chosen.encoder !== undefined && { encoder: chosen.encoder }),
      tokenizer,
      boundary: {
        bos: { id: boundary.bos, text: boundaryTexts.bos, rule: boundary.bosRule },
        eos: { id: boundary.eos, text: boundaryTexts.eos, rule: boundary.eosRule },
      },
      capabilities: { cache: chosen.hasCache, score: !chosen.lastPositionOnly },
      warnings,
    };
  });
}
