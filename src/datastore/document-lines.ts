/**
 * The lines of one segment's documents.jsonl, in memory as they are in the file and parsed when asked for; lengths, places
 * and ids are kept ready. Never changed, so that states of a datastore can share them.
 */
import { BLOCK_BYTES, checkBlock, readChecksums, truncatedFile } from './checksummed-file.ts';
import { DataFile } from './files.ts';
import { corruptTable, parseLine, type StoredDocument } from './stored-document.ts';

/** Bytes parsed at once: half a millisecond. */
const CHUNK_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

export interface LinesRequest {
  path: string;
  /** That count, and documents in them. */
  bytes: number;
  documents: number;
  /** Still being written: its checksums are not complete. */
  isGrowing: boolean;
  /** Of the same segment, when it was read before: taken again when the file still says the same. */
  known?: DocumentLines;
  /** Told of each line as it is parsed; not of lines that were known. @param start entries of the segment before it */
  onLine?: (document: StoredDocument, row: number, start: number) => void;
}

export class DocumentLines {
  readonly length: number;
  /** As they are in the file. */
  readonly bytes: Buffer;
  /** (length + 1) entries of the segment before each document; the last is the number of them all. */
  readonly starts: Float64Array;
  /** (length + 1) where each line starts. */
  readonly #lines: Float64Array;
  /** Last row of each id. */
  readonly #rows = new Map<string, number>();
  /** Row to the last one before it with the same id: a document that was replaced within the segment. */
  readonly #earlier = new Map<number, number>();
  readonly #isChecked: boolean;

  private constructor(bytes: Buffer, length: number, isChecked: boolean) {
    this.bytes = bytes;
    this.length = length;
    this.starts = new Float64Array(length + 1);
    this.#lines = new Float64Array(length + 1);
    this.#isChecked = isChecked;
  }

  /** Reads and checks every line, in slices that leave the event loop free. Errors: `STORE_CORRUPT`, `IO`. */
  static async load(request: LinesRequest): Promise<DocumentLines> {
    const { path, documents, isGrowing, known } = request;
    const bytes = await readLines(path, request.bytes);
    if (known && known.length === documents && (known.#isChecked || isGrowing)) {
      if (known.bytes.equals(bytes)) return known;
    }
    // A wrong letter in an id would be read as another id.
    if (!isGrowing) await checkLines(path, bytes);
    const lines = new DocumentLines(bytes, documents, !isGrowing);
    await lines.#parse(request);
    return lines;
  }

  async #parse({ path, onLine }: LinesRequest): Promise<void> {
    const { bytes, length } = this;
    let row = 0;
    let slice = CHUNK_BYTES;
    for (let at = 0; at < bytes.length; row++) {
      const newline = bytes.indexOf(NEWLINE, at);
      if (newline < 0) throw corruptTable(path, `line ${row + 1} does not end`);
      if (row === length) throw corruptTable(path, `it has more than ${length} lines`);
      const stored = parseLine(path, row + 1, bytes.toString('utf8', at, newline));
      const start = this.starts[row]!;
      at = newline + 1;
      this.starts[row + 1] = start + stored.length;
      this.#lines[row + 1] = at;
      const earlier = this.#rows.get(stored.id);
      if (earlier !== undefined) this.#earlier.set(row, earlier);
      this.#rows.set(stored.id, row);
      onLine?.(stored, row, start);
      if (at <= slice) continue;
      slice = at + CHUNK_BYTES;
      await new Promise(setImmediate);
    }
    if (row < length) throw corruptTable(path, `it lists ${row} documents, the manifest ${length}`);
  }

  /** @param row 0 to length - 1 */
  at(row: number): StoredDocument {
    const [start, end] = this.lineRange(row);
    return JSON.parse(this.bytes.toString('utf8', start, end - 1)) as StoredDocument;
  }

  /** Bytes [start, end) of a row's line. */
  lineRange(row: number): [start: number, end: number] {
    return [this.#lines[row]!, this.#lines[row + 1]!];
  }

  /** Rows with an id, the last one first. */
  *rowsOf(id: string): Generator<number> {
    let row = this.#rows.get(id);
    for (; row !== undefined; row = this.#earlier.get(row)) yield row;
  }
}

async function readLines(path: string, bytes: number): Promise<Buffer> {
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

async function checkLines(path: string, bytes: Buffer): Promise<void> {
  const checksums = await readChecksums(path, bytes.length);
  for (let start = 0, index = 0; start < bytes.length; start += BLOCK_BYTES, index++) {
    if (index > 0) await new Promise(setImmediate);
    checkBlock(path, { block: bytes.subarray(start, start + BLOCK_BYTES), index, checksums });
  }
}
