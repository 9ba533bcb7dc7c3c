/** How much there is to read, before reading it. */
import { replies } from './reading-thread.ts';
import type { DocumentEstimate } from './sample-files.ts';
import type { ReadOptions } from './source-types.ts';

export type { DocumentEstimate } from './sample-files.ts';

/** Sizes of all files, and a sample of about 1 MiB of text in a worker thread. Errors: those of `readDocuments`. */
export async function estimateDocuments(
  inputs: readonly string[],
  options: ReadOptions = {},
): Promise<DocumentEstimate> {
  for await (const { estimate } of replies({ task: 'sample', inputs }, options)) {
    if (estimate) return estimate;
  }
  throw new Error('the sampling worker gave no estimate');
}
