/** Some files, each read or given up by itself: for whoever keeps a store in step with files that change. */
import type { InputFile } from './input-files.ts';
import type { FileFinding } from './read-files.ts';
import { replies } from './reading-thread.ts';
import type { ReadDocument, ReadOptions } from './source-types.ts';

/** A document without its text, or texts. */
export type DocumentDigest = Omit<ReadDocument, 'text' | 'sourceText'>;

/** What a file holds, or why that cannot be told. */
export type FileDigest =
  | { file: InputFile; documents: DocumentDigest[] }
  | { file: InputFile; failure: string };

/** Reads and hashes files in a worker thread. Memory holds no text, only ids and hashes. Errors: `ABORTED`. */
export async function* digestFiles(
  files: readonly InputFile[],
  options: ReadOptions,
): AsyncGenerator<FileDigest> {
  let documents: DocumentDigest[] = [];
  for await (const { file, document, failure, done } of findingsIn('digest', files, options)) {
    if (document) {
      const { text: _, ...digest } = document;
      documents.push(digest);
    }
    if (done) yield { file: files[file]!, documents };
    if (failure !== undefined) yield { file: files[file]!, failure };
    if (!document) documents = [];
  }
}

/** Their documents. A file that cannot be read on is passed over from there. Errors: `ABORTED`. */
export async function* readFiles(
  files: readonly InputFile[],
  options: ReadOptions,
): AsyncGenerator<ReadDocument> {
  for await (const { document } of findingsIn('each', files, options)) if (document) yield document;
}

async function* findingsIn(
  task: 'digest' | 'each',
  files: readonly InputFile[],
  options: ReadOptions,
): AsyncGenerator<FileFinding> {
  if (files.length === 0) return;
  for await (const { findings = [] } of replies({ task, files }, options)) yield* findings;
}
