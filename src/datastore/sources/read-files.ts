/** Input files to documents, one after another. Runs in the reading worker: parsing and unpacking take time. */
import { KnnLMError } from '../../errors.ts';
import { fileSize } from '../files.ts';
import { documentHash } from '../hash.ts';
import { gather, readAll, readChunks } from './byte-stream.ts';
import { htmlText } from './html-text.ts';
import { type InputFile, listInputFiles } from './input-files.ts';
import { readJsonl } from './read-jsonl.ts';
import { readParallel, readTsv } from './read-pairs.ts';
import { readParquet } from './read-parquet.ts';
import {
  type FoundDocument,
  LONGEST_STRING,
  type ReadContext,
  type ReadDocument,
} from './source-types.ts';
import { decodeUtf8, NotTextError } from './utf8.ts';

/** Errors: those of the readers, and `NO_DOCUMENTS` when nothing was found at all. */
export async function* readInputs(
  inputs: readonly string[],
  context: ReadContext,
): AsyncGenerator<ReadDocument> {
  const files = await listInputFiles(inputs, context);
  let found = 0;
  let bytesBefore = 0;
  for (const file of files) {
    for await (const document of readFile(file, context)) {
      found++;
      yield complete(document, bytesBefore);
    }
    bytesBefore += await sizeOf(file);
  }
  if (found > 0) return;
  throw new KnnLMError(
    'NO_DOCUMENTS',
    `No document with text was found in ${inputs.slice(0, 3).join(', ')}${inputs.length > 3 ? ', …' : ''} (${files.length} files read). Give ${context.settings.pairs ? '.jsonl or .tsv' : '.txt, .md, .html, .jsonl or .parquet'} files.`,
  );
}

/** What was found in one of some files: a document, the reason why it could not be read on, or that it has ended. */
export interface FileFinding {
  /** Its number among the files. */
  file: number;
  document?: ReadDocument;
  failure?: string;
  done?: true;
}

/** Files one after another; one that cannot be read does not keep the others from being read. */
export async function* readEach(
  files: readonly InputFile[],
  context: ReadContext,
): AsyncGenerator<FileFinding> {
  let bytesBefore = 0;
  for (const [number, file] of files.entries()) {
    try {
      for await (const found of readFile(file, context))
        yield { file: number, document: complete(found, bytesBefore) };
      bytesBefore += await sizeOf(file);
    } catch (error) {
      if (!(error instanceof KnnLMError)) throw error;
      yield { file: number, failure: error.message };
      continue;
    }
    yield { file: number, done: true };
  }
}

const sizeOf = async (file: InputFile): Promise<number> =>
  file.format === 'stdin' ? 0 : ((await fileSize(file.path)) ?? 0);

/** The document with its hash and sizes. @param bytesBefore of the files before its own */
export function complete(document: FoundDocument, bytesBefore: number): ReadDocument {
  const { fileBytes, ...rest } = document;
  return {
    ...rest,
    hash: documentHash(document.text, document.sourceText),
    textBytes: Buffer.byteLength(document.text),
    readBytes: bytesBefore + fileBytes,
  };
}

/** A file's documents. What is not text is skipped, unless the user named the file himself. */
export async function* readFile(
  file: InputFile,
  context: ReadContext,
): AsyncGenerator<FoundDocument> {
  try {
    for await (const document of readerOf(file, context)) {
      const { sourceText } = document;
      yield {
        ...document,
        text: wellFormed(document.text, document, context),
        ...(sourceText !== undefined && {
          sourceText: wellFormed(sourceText, document, context),
        }),
      };
    }
  } catch (error) {
    if (!(error instanceof NotTextError) || file.explicit) throw error;
    context.onSkip({ source: file.path, reason: error.reason });
  }
}

function readerOf(file: InputFile, context: ReadContext): AsyncGenerator<FoundDocument> {
  if (file.format === 'jsonl') return readJsonl(file, context);
  if (file.format === 'parquet') return readParquet(file, context);
  if (file.format === 'tsv') return readTsv(file, context);
  if (file.format === 'lines') return readParallel(file, context);
  if (file.format === 'stdin') return readStdin(file, context);
  return readWholeFile(file, context);
}

async function* readWholeFile(
  file: InputFile,
  context: ReadContext,
): AsyncGenerator<FoundDocument> {
  const limit = context.settings.maxDocumentBytes ?? LONGEST_STRING;
  const bytes = await readAll(file, limit);
  const content = decodeUtf8(bytes, file.path, { invalid: context.settings.invalidUtf8 });
  const text = file.format === 'html' ? await htmlText(content, file.path) : content;
  if (text.trim() === '') context.onSkip({ source: file.path, reason: 'empty' });
  else yield { id: file.id, text, source: file.path, fileBytes: await sizeOf(file) };
}

/** JSON Lines when the first character is a brace, else one document, or pairs in two columns. */
async function* readStdin(file: InputFile, context: ReadContext): AsyncGenerator<FoundDocument> {
  const chunks = readChunks(file);
  const first = await chunks.next();
  const all = (async function* () {
    if (!first.done) yield first.value;
    yield* chunks;
  })();
  if (!first.done && /^\s*\{/.test(first.value.toString('latin1'))) {
    for await (const document of readJsonl(file, context, all)) yield { ...document, fileBytes: 0 };
    return;
  }
  if (context.settings.pairs) {
    for await (const document of readTsv(file, context, all)) yield { ...document, fileBytes: 0 };
    return;
  }
  const limit = context.settings.maxDocumentBytes ?? LONGEST_STRING;
  const bytes = await gather(all, file.path, limit);
  const text = decodeUtf8(bytes, file.path, { invalid: context.settings.invalidUtf8 });
  if (text.trim() === '') context.onSkip({ source: file.path, reason: 'empty' });
  else yield { id: file.id, text, source: file.path, fileBytes: 0 };
}

/** JSON can name half of a surrogate pair, which no UTF-8 text has and no tokenizer reads. */
function wellFormed(text: string, { source }: FoundDocument, { settings }: ReadContext): string {
  // Since Node 20; not in the ES2023 library types.
  const string = text as unknown as { isWellFormed(): boolean; toWellFormed(): string };
  if (string.isWellFormed()) return text;
  if (settings.invalidUtf8 === 'replace') return string.toWellFormed();
  throw new KnnLMError(
    'INVALID_DOCUMENT',
    `${source} holds half of a surrogate pair (\\ud800 to \\udfff), which is no character. Correct it, or read it with invalid UTF-8 replaced.`,
  );
}
