/**
 * Pairs of a source and its target from lines of text: two columns with a tab between them, or two files of which line n of the one is the
 * source of line n of the other. (JSON Lines of pairs are `read-jsonl.ts`.) Ids are `file#line`, of the sources' file.
 */
import { KnnLMError } from '../../errors.ts';
import { type Line, readChunks, type StreamPosition, splitLines } from './byte-stream.ts';
import type { InputFile } from './input-files.ts';
import { type FoundDocument, LONGEST_STRING, type ReadContext } from './source-types.ts';
import { decodeUtf8 } from './utf8.ts';

/** Errors: `INVALID_DOCUMENT`, naming the line, for any other number of columns than two. */
export async function* readTsv(
  file: InputFile,
  context: ReadContext,
  chunks?: AsyncIterable<Buffer>,
): AsyncGenerator<FoundDocument> {
  const position: StreamPosition = { packed: 0, unpacked: 0 };
  for await (const line of linesOf(file, context, position, chunks)) {
    if (line.text.trim() === '') continue;
    const columns = line.text.split('\t');
    if (columns.length !== 2) {
      throw new KnnLMError(
        'INVALID_DOCUMENT',
        `${file.path}:${line.number}: expected a source, a tab and its target on one line, but there ${columns.length === 1 ? 'is no tab' : `are ${columns.length} columns`}. Correct the line, or use .jsonl with "source" and "target".`,
      );
    }
    const pair = pairAt(file, line, { source: columns[0]!, target: columns[1]! }, context);
    if (pair) yield { ...pair, fileBytes: bytesUpTo(position, line) };
  }
}

/** Two files read side by side. Errors: `INVALID_DOCUMENT` when one has more lines than the other. */
export async function* readParallel(
  file: InputFile,
  context: ReadContext,
): AsyncGenerator<FoundDocument> {
  const targets = file.targets!;
  const position: StreamPosition = { packed: 0, unpacked: 0 };
  const others = linesOf(targets, context, { packed: 0, unpacked: 0 });
  let lines = 0;
  try {
    for await (const line of linesOf(file, context, position)) {
      const other = await others.next();
      if (other.done) throw unequal(targets, lines, file);
      lines++;
      const pair = pairAt(file, line, { source: line.text, target: other.value.text }, context);
      if (pair) yield { ...pair, fileBytes: bytesUpTo(position, line) };
    }
    if (!(await others.next()).done) throw unequal(file, lines, targets);
  } finally {
    await others.return(undefined);
  }
}

interface TextLine extends Line {
  text: string;
}

async function* linesOf(
  file: InputFile,
  { settings }: ReadContext,
  position: StreamPosition,
  chunks?: AsyncIterable<Buffer>,
): AsyncGenerator<TextLine> {
  const limit = settings.maxDocumentBytes ?? LONGEST_STRING;
  for await (const line of splitLines(chunks ?? readChunks(file, position), file.path, limit)) {
    const where = `${file.path}:${line.number}`;
    const options = { invalid: settings.invalidUtf8, offset: line.start };
    yield { ...line, text: decodeUtf8(line.bytes, where, options).replace(/\r$/, '') };
  }
}

/** Undefined for a pair that lacks one side, which is told. */
export function pairAt(
  file: InputFile,
  { number }: Pick<Line, 'number'>,
  { source, target }: { source: string; target: string },
  { onSkip }: ReadContext,
): Omit<FoundDocument, 'fileBytes'> | undefined {
  const where = `${file.path}#${number}`;
  if (source.trim() !== '' && target.trim() !== '') {
    return { id: `${file.id}#${number}`, text: target, sourceText: source, source: where };
  }
  onSkip({ source: where, reason: `empty ${source.trim() === '' ? 'source' : 'target'}` });
  return undefined;
}

/** Of a packed file only the chunk's place is known: the line's share of what it unpacked to. */
export function bytesUpTo({ packed, unpacked }: StreamPosition, line: Line): number {
  return Math.round(packed * (unpacked > 0 ? line.end / unpacked : 1));
}

const unequal = (short: InputFile, lines: number, long: InputFile): KnnLMError =>
  new KnnLMError(
    'INVALID_DOCUMENT',
    `${short.path} has ${lines} lines and ${long.path} more: line n of the one must be the source of line n of the other. Correct the files.`,
  );
