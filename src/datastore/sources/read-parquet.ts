/** Parquet files with a column of texts, one row group in memory at a time. The only door to hyparquet. */
import type { AsyncBuffer, FileMetaData } from 'hyparquet';
import { KnnLMError } from '../../errors.ts';
import { DataFile } from '../files.ts';
import type { InputFile } from './input-files.ts';
import { type FoundDocument, LONGEST_STRING, type ReadContext } from './source-types.ts';
import { decodeUtf8 } from './utf8.ts';

/** Ids are the id column's, or `file#row` with rows from 0. Errors: `INVALID_DOCUMENT`, `INVALID_ARGUMENT` for a missing column. */
export async function* readParquet(
  file: InputFile,
  context: ReadContext,
): AsyncGenerator<FoundDocument> {
  const { parquetMetadataAsync } = await import('hyparquet');
  const data = await DataFile.open(file.path, 'r');
  try {
    const buffer = await asyncBuffer(data);
    const metadata = await told(file, () => parquetMetadataAsync(buffer));
    const columns = chosenColumns(file, metadata, context);
    const rows = Number(metadata.num_rows);
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      const found = await readRows(file, { buffer, metadata, columns, rowStart, rowEnd });
      for (const [i, cells] of found.entries()) {
        const row = rowStart + i;
        const document = toDocument(file, row, cells, context);
        const fileBytes = Math.round((buffer.byteLength * (row + 1)) / rows);
        if (document) yield { ...document, fileBytes };
      }
      rowStart = rowEnd;
    }
  } finally {
    await data.close();
  }
}

async function asyncBuffer(file: DataFile): Promise<AsyncBuffer> {
  const byteLength = await file.size();
  return {
    byteLength,
    async slice(start, end = byteLength) {
      const bytes = new Uint8Array(Math.max(0, end - start));
      const read = await file.read(bytes, start);
      if (read < bytes.length) throw new Error(`it ends at byte ${start + read}`);
      return bytes.buffer;
    },
  };
}

function chosenColumns(file: InputFile, metadata: FileMetaData, context: ReadContext): string[] {
  const { textColumn = 'text', idColumn } = context.settings;
  const names = topLevelColumns(metadata);
  const wanted = [textColumn, ...(idColumn === undefined ? [] : [idColumn])];
  for (const [i, name] of wanted.entries()) {
    if (names.includes(name)) continue;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${file.path} has no column ${JSON.stringify(name)}; it has ${names.join(', ')}. Name the ${i === 0 ? 'text' : 'id'} column.`,
    );
  }
  return wanted;
}

/** The schema is a tree in depth-first order, its root first. */
function topLevelColumns({ schema }: FileMetaData): string[] {
  const names: string[] = [];
  let at = 1;
  const skip = (): void => {
    let children = schema[at++]?.num_children ?? 0;
    while (children-- > 0) skip();
  };
  while (at < schema.length) {
    names.push(schema[at]!.name);
    skip();
  }
  return names;
}

interface RowRange {
  buffer: AsyncBuffer;
  metadata: FileMetaData;
  columns: string[];
  rowStart: number;
  rowEnd: number;
}

/** @returns rows of cells in the order of `columns`; strings come as their bytes */
async function readRows(file: InputFile, range: RowRange): Promise<unknown[][]> {
  const { parquetReadObjects } = await import('hyparquet');
  const { compressors } = await import('hyparquet-compressors');
  const { buffer, columns, ...rest } = range;
  const objects = await told(file, () =>
    parquetReadObjects({
      ...rest,
      file: buffer,
      columns: [...new Set(columns)],
      compressors,
      utf8: false,
      // Decoding is ours: hyparquet would quietly replace what is not UTF-8.
      parsers: { stringFromBytes: (bytes: Uint8Array) => bytes },
    }),
  );
  return objects.map((row) => columns.map((name) => row[name]));
}

/** hyparquet throws plain errors for damaged files. */
async function told<T>(file: InputFile, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof KnnLMError) throw cause;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new KnnLMError(
      'INVALID_DOCUMENT',
      `${file.path} cannot be read as Parquet: ${reason}. Write it again, or leave it out.`,
      { cause },
    );
  }
}

function toDocument(
  file: InputFile,
  row: number,
  [textCell, idCell]: unknown[],
  { settings, onSkip }: ReadContext,
): Omit<FoundDocument, 'fileBytes'> | undefined {
  const source = `${file.path}#${row}`;
  if (textCell === undefined || textCell === null) {
    onSkip({ source, reason: 'empty' });
    return undefined;
  }
  const limit = settings.maxDocumentBytes ?? LONGEST_STRING;
  if (textCell instanceof Uint8Array && textCell.length > limit)
    throw new KnnLMError(
      'INVALID_DOCUMENT',
      `${source} has ${textCell.length} bytes of text, more than the ${limit} one document may have. Split it.`,
    );
  const text = toText(textCell, source, settings.invalidUtf8);
  if (text === undefined)
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${source}: the text column holds a ${typeof textCell}, not text. Name another text column.`,
    );
  if (text.trim() === '') {
    onSkip({ source, reason: 'empty' });
    return undefined;
  }
  return { id: toId(idCell, `${file.id}#${row}`, source), text, source };
}

function toText(cell: unknown, source: string, invalid?: 'refuse' | 'replace'): string | undefined {
  if (typeof cell === 'string') return cell;
  if (!(cell instanceof Uint8Array)) return undefined;
  return decodeUtf8(Buffer.from(cell.buffer, cell.byteOffset, cell.length), source, { invalid });
}

function toId(cell: unknown, fallback: string, source: string): string {
  if (cell === undefined || cell === null) return fallback;
  if (typeof cell === 'number' || typeof cell === 'bigint') return String(cell);
  const id = toText(cell, source);
  if (id) return id;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${source}: the id column holds ${id === '' ? 'an empty text' : `a ${typeof cell}`}. Name another id column.`,
  );
}
