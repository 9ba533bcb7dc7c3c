/**
 * The only door to onnxruntime-node. It is loaded on first use, so importing the package root costs nothing.
 * Used by `model/` (inference) and `indexes/` (matrix products), inside worker threads only: `run()` blocks its thread.
 */
import type * as Ort from 'onnxruntime-node';
import { KnnLMError } from './errors.ts';

export type { Ort };

let loaded: Promise<typeof Ort> | undefined;

export function loadOnnxRuntime(): Promise<typeof Ort> {
  loaded ??= import('onnxruntime-node').then(
    (module) => module.default as unknown as typeof Ort,
    (cause) => {
      throw new KnnLMError(
        'MODEL_UNSUPPORTED',
        'onnxruntime-node could not be loaded. Run: npm install onnxruntime-node (behind a firewall with ONNXRUNTIME_NODE_INSTALL=skip).',
        { cause },
      );
    },
  );
  return loaded;
}
