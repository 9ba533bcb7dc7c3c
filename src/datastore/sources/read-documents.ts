/** Documents from files, folders, globs and standard input. */
import { replies } from './reading-thread.ts';
import type { ReadDocument, ReadOptions } from './source-types.ts';

export type { PairInputs, ReadDocument, ReadOptions, Skip } from './source-types.ts';

/**
 * Reads documents in a worker thread, one after another, in a stable order. Memory holds a few of them at most
 * (of Parquet a row group), however large the corpus.
 * @param inputs files (.txt, .md, .html, .jsonl, each also .gz, .parquet), folders, globs, or `-`
 * Errors: `INVALID_ARGUMENT`, `INVALID_DOCUMENT` (file, line or byte, and what was expected), `NO_DOCUMENTS`, `IO`, `ABORTED`.
 */
export async function* readDocuments(
  inputs: readonly string[],
  options: ReadOptions = {},
): AsyncGenerator<ReadDocument> {
  for await (const { documents = [] } of replies({ task: 'read', inputs }, options))
    yield* documents;
}
