/** What the main thread and the workers that rewrite lists of product codes say to each other. */
import type { IdRange } from '../../math/vectors.ts';
import type { IvfHeader } from './ivf-header.ts';
import type { ListRange } from './write-product-file.ts';

export interface RewriterStart {
  /** The lists file to be rewritten. */
  path: string;
  header: IvfHeader;
  /** Entries that stay, sorted and disjoint; they are numbered anew. Undefined: all, as they are. */
  keep: readonly IdRange[] | undefined;
  /** More rows, of another file with the same codes. */
  added: AddedRows | undefined;
}

export interface AddedRows {
  path: string;
  header: IvfHeader;
  /** (its lists) the list that each one's rows go to. */
  listOf: Uint32Array;
  /** Added to its ids. */
  firstId: number;
}

/** Gives `PackedLists`. */
export interface RewriteTask extends ListRange {
  kind: 'rewrite';
}
