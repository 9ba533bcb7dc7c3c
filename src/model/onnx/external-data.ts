/** Whether the weight files beside a graph are there and long enough: a broken-off download, named before onnxruntime fails on it. */
import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { ioError, KnnLMError } from '../../errors.ts';
import { elementBits } from './element-types.ts';
import type { Initializer, OnnxGraph } from './graph.ts';
import { elementCount } from './read-tensor.ts';

/** Errors: `MODEL_INVALID` when a file is missing or too short. */
export function checkExternalData(graph: OnnxGraph): void {
  const needed = new Map<string, number>();
  for (const tensor of graph.initializers.values()) {
    if (!tensor.external) continue;
    const { location, offset } = tensor.external;
    needed.set(location, Math.max(needed.get(location) ?? 0, offset + externalBytes(tensor)));
  }
  for (const [location, bytes] of needed) {
    const path = join(dirname(graph.path), location);
    let size: number;
    try {
      size = statSync(path).size;
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw ioError('read', path, cause);
      throw new KnnLMError(
        'MODEL_INVALID',
        `${graph.path} keeps its weights in ${location}, which is not in its folder. Download it too.`,
        { cause },
      );
    }
    if (size < bytes) {
      throw new KnnLMError(
        'MODEL_INVALID',
        `${path} has ${size} bytes and the model needs ${bytes}. Download it again.`,
      );
    }
  }
}

function externalBytes({ external, elementType, dims }: Initializer): number {
  if (external!.length !== undefined) return external!.length;
  return Math.ceil((elementCount(dims) * ((elementType && elementBits(elementType)) ?? 0)) / 8);
}
