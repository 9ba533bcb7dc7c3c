/** Opens the index that suits the keys. */
import { FlatIndex, type OpenIndexOptions } from './flat-index.ts';
import type { VectorIndex } from './vector-index.ts';

export type { OpenIndexOptions } from './flat-index.ts';

export function openIndex(options: OpenIndexOptions): Promise<VectorIndex> {
  return FlatIndex.open(options);
}
