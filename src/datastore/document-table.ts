/**
 * The documents of a datastore, in entry order. Lines of documents.jsonl stay in memory as bytes and are parsed when
 * asked for; starts and the map of ids are kept ready.
 */
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import { BLOCK_BYTES, checkBlock, readChecksums, truncatedFile } from './checksummed-file.ts';
import { DataFile } from './files.ts';
import type { Manifest } from './manifest.ts';
import { isGrowing, segmentPart } from './segment.ts';
import type { DocumentRecord } from './types.ts';

/** A line of documents.jsonl. `start` is not stored: it follows from the lengths before. */
type StoredDocument = Omit<DocumentRecord, 'start'>;

/** `{"id":"","source":"","hash":"<64>","length":1}` and the newline. */
const SHORTEST_LINE = 107;
const CHUNK_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

export const documentLine = ({ id, source, hash, length, metadata }: StoredDocument): string =>
  `${JSON.stringify({ id, source, hash, length, metadata })}\n`;

export class DocumentTable implements Iterable<DocumentRecord> {
  /** Rows, deleted ones included. */
  readonly length: number;
  /** (length + 1) id of each document's first entry; the last is the number of entries. */
  readonly #starts: Float64Array;
  /** (length + 1) where each line starts in the concatenation of all segments' bytes. */
  readonly #lines: Float64Array;
  /** Per segment: its bytes, and where they start in the concatenation. */
  readonly #bytes: { bytes: Buffer; offset: number }[] = [];
  /** Rows of live documents. */
  readonly #rows = new Map<string, number>();
  readonly #deleted: readonly IdRange[];

  private constructor(length: number, deleted: readonly IdRange[]) {
    this.length = length;
    this.#starts = new Float64Array(length + 1);
    this.#lines = new Float64Array(length + 1);
    this.#deleted = deleted;
  }

  /**
   * Reads and checks every line, in slices that leave the event loop free.
   * @param onDocument told of each live document
   * Errors: `STORE_CORRUPT`
   */
  static async load(
    store: string,
    manifest: Manifest,
    onDocument?: (document: DocumentRecord) => void,
  ): Promise<DocumentTable> {
    for (const segment of manifest.segments) {
      // Before anything is allocated by the manifest's word.
      if (segment.documentBytes < segment.documents * SHORTEST_LINE)
        throw corruptTable(
          segmentPart(store, manifest, segment, 'documents').path,
          `${segment.documents} documents cannot lie in ${segment.documentBytes} bytes`,
        );
    }
    const sizes = manifest.segments.map((_, i) => partOf(store, manifest, i));
    const buffers: Buffer[] = [];
    for (const [i, segment] of manifest.segments.entries()) {
      const { path, bytes } = sizes[i]!;
      const buffer = await readTable(path, bytes);
      // A wrong letter in an id would be read as another id.
      if (!isGrowing(manifest, segment)) await checkTable(path, buffer);
      buffers.push(buffer);
    }
    const length = manifest.segments.reduce((sum, segment) => sum + segment.documents, 0);
    const table = new DocumentTable(length, manifest.deleted);
    let row = 0;
    for (const [i, segment] of manifest.segments.entries()) {
      const end = row + segment.documents;
      row = await table.#addSegment(sizes[i]!.path, buffers[i]!, row, end, onDocument);
      const entries = table.#starts[row]! - table.#starts[end - segment.documents]!;
      if (row !== end || entries !== segment.entries)
        throw corruptTable(
          sizes[i]!.path,
          `it lists ${row - end + segment.documents} documents and ${entries} entries, the manifest ${segment.documents} and ${segment.entries}`,
        );
    }
    return table;
  }

  /** @returns the row after the segment's last */
  async #addSegment(
    path: string,
    bytes: Buffer,
    firstRow: number,
    endRow: number,
    onDocument?: (document: DocumentRecord) => void,
  ): Promise<number> {
    const offset = this.#lines[firstRow]!;
    this.#bytes.push({ bytes, offset });
    let row = firstRow;
    let slice = CHUNK_BYTES;
    for (let at = 0; at < bytes.length; ) {
      const newline = bytes.indexOf(NEWLINE, at);
      if (newline < 0) throw corruptTable(path, `line ${row - firstRow + 1} does not end`);
      if (row === endRow) throw corruptTable(path, `it has more than ${endRow - firstRow} lines`);
      const stored = parseLine(path, row - firstRow + 1, bytes.toString('utf8', at, newline));
      this.#add(path, row, stored, offset + newline + 1, onDocument);
      row++;
      at = newline + 1;
      if (at > slice) {
        slice = at + CHUNK_BYTES;
        await new Promise(setImmediate);
      }
    }
    return row;
  }

  #add(
    path: string,
    row: number,
    stored: StoredDocument,
    lineEnd: number,
    onDocument?: (document: DocumentRecord) => void,
  ): void {
    const start = this.#starts[row]!;
    this.#starts[row + 1] = start + stored.length;
    this.#lines[row + 1] = lineEnd;
    if (this.isDeleted(row)) return;
    if (this.#rows.has(stored.id))
      throw corruptTable(path, `the id ${JSON.stringify(stored.id)} is there twice`);
    this.#rows.set(stored.id, row);
    onDocument?.({ ...stored, start });
  }

  /** @param row 0 to length - 1 */
  at(row: number): DocumentRecord {
    if (!(row >= 0 && row < this.length)) throw new Error(`no document row ${row}`);
    const start = this.#lines[row]!;
    const { bytes, offset } = this.#bytes.findLast((part) => part.offset <= start)!;
    const line = bytes.toString('utf8', start - offset, this.#lines[row + 1]! - offset - 1);
    const { id, source, hash, length, metadata } = JSON.parse(line) as StoredDocument;
    return {
      id,
      source,
      hash,
      start: this.#starts[row]!,
      length,
      ...(metadata === undefined ? {} : { metadata }),
    };
  }

  /** Bytes [start, end) of a row's line in the concatenation of all segments' lines. */
  lineRange(row: number): [start: number, end: number] {
    return [this.#lines[row]!, this.#lines[row + 1]!];
  }

  /** Id of a row's first entry. @param row 0 to length; the last gives n */
  startOf(row: number): number {
    return this.#starts[row]!;
  }

  /** A segment's lines as they are in its file. */
  linesOf(segment: number): Buffer {
    return this.#bytes[segment]!.bytes;
  }

  isDeleted(row: number): boolean {
    const start = this.#starts[row]!;
    const i = lastAtMost(this.#deleted.length, (range) => this.#deleted[range]![0] <= start);
    return i >= 0 && start < this.#deleted[i]![1];
  }

  /** A live document. */
  find(id: string): DocumentRecord | undefined {
    const row = this.#rows.get(id);
    return row === undefined ? undefined : this.at(row);
  }

  /** The document that an entry belongs to, in O(log n). @param entry 0 to n - 1 */
  locate(entry: number): { row: number; document: DocumentRecord; position: number } {
    if (!(entry >= 0 && entry < this.#starts[this.length]!)) throw new Error(`no entry ${entry}`);
    const row = lastAtMost(this.length, (candidate) => this.#starts[candidate]! <= entry);
    const document = this.at(row);
    return { row, document, position: entry - document.start };
  }

  /** Rows of live documents, in entry order. */
  liveRows(): Iterable<number> {
    return this.#rows.values();
  }

  /** Live documents. */
  *[Symbol.iterator](): Iterator<DocumentRecord> {
    for (const row of this.#rows.values()) yield this.at(row);
  }
}

/** The last index below `length` for which `holds`, which is true up to some index and false from there on; or -1. */
function lastAtMost(length: number, holds: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (holds(middle)) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

function partOf(store: string, manifest: Manifest, i: number): { path: string; bytes: number } {
  return segmentPart(store, manifest, manifest.segments[i]!, 'documents');
}

async function readTable(path: string, bytes: number): Promise<Buffer> {
  if (bytes === 0) return Buffer.alloc(0);
  const file = await DataFile.open(path, 'r');
  try {
    const size = await file.size();
    if (size < bytes) throw truncatedFile(path, bytes, size);
    const buffer = Buffer.allocUnsafe(bytes);
    await file.read(buffer, 0);
    return buffer;
  } finally {
    await file.close();
  }
}

async function checkTable(path: string, bytes: Buffer): Promise<void> {
  const checksums = await readChecksums(path, bytes.length);
  for (let start = 0, index = 0; start < bytes.length; start += BLOCK_BYTES, index++) {
    if (index > 0) await new Promise(setImmediate);
    checkBlock(path, { block: bytes.subarray(start, start + BLOCK_BYTES), index, checksums });
  }
}

function parseLine(path: string, line: number, text: string): StoredDocument {
  let value: Partial<StoredDocument> | null;
  try {
    value = JSON.parse(text) as Partial<StoredDocument> | null;
  } catch (cause) {
    throw corruptTable(path, `line ${line} is not JSON`, cause);
  }
  const { id, source, hash, length, metadata } = value ?? {};
  const fits =
    typeof id === 'string' &&
    typeof source === 'string' &&
    typeof hash === 'string' &&
    /^[0-9a-f]{64}$/.test(hash) &&
    Number.isSafeInteger(length) &&
    length! > 0 &&
    (metadata === undefined ||
      (typeof metadata === 'object' && metadata !== null && !Array.isArray(metadata)));
  if (!fits) throw corruptTable(path, `line ${line} is not a document record`);
  return value as StoredDocument;
}

function corruptTable(path: string, problem: string, cause?: unknown): KnnLMError {
  return new KnnLMError(
    'STORE_CORRUPT',
    `${path} is damaged: ${problem}. Restore it from a backup or build the datastore again.`,
    { cause },
  );
}
