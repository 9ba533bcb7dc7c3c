/** The documents of a datastore, in entry order: the lines of its segments one after another, without what was removed. */
import type { IdRange } from '../math/vectors.ts';
import { DocumentLines } from './document-lines.ts';
import type { Manifest } from './manifest.ts';
import { isGrowing, type SegmentPart, segmentPart } from './segment.ts';
import { corruptTable, SHORTEST_LINE } from './stored-document.ts';
import type { DocumentRecord } from './types.ts';

export interface LoadDocumentsOptions {
  /** Of an earlier state of the datastore: lines that have not changed since are not parsed again. */
  known?: DocumentTable;
  /** Told of each live document, where nothing is known. */
  onDocument?: (document: DocumentRecord) => void;
}

interface Segment {
  lines: DocumentLines;
  /** Before it: rows, entries and bytes. */
  row: number;
  start: number;
  offset: number;
}

/** Documents that were located lately, as they were parsed. */
const MOST_LATELY = 256;

export class DocumentTable implements Iterable<DocumentRecord> {
  readonly #segments: readonly Segment[];
  readonly #deleted: readonly IdRange[];
  readonly #lately = new Map<number, DocumentRecord>();

  private constructor(segments: readonly Segment[], deleted: readonly IdRange[]) {
    this.#segments = segments;
    this.#deleted = deleted;
  }

  /** Reads and checks every line, in slices that leave the event loop free. Errors: `STORE_CORRUPT`, `IO`. */
  static async load(
    store: string,
    manifest: Manifest,
    { known, onDocument }: LoadDocumentsOptions = {},
  ): Promise<DocumentTable> {
    const parts = manifest.segments.map((segment) =>
      segmentPart(store, manifest, segment, 'documents'),
    );
    for (const [i, { documents, documentBytes }] of manifest.segments.entries()) {
      // Before anything is allocated by the manifest's word.
      if (documentBytes < documents * SHORTEST_LINE)
        throw corruptTable(
          parts[i]!.path,
          `${documents} documents cannot lie in ${documentBytes} bytes`,
        );
    }
    const segments: Segment[] = [];
    const table = new DocumentTable(segments, manifest.deleted);
    // Live ids, but for those in lines that were known.
    const seen = new Set<string>();
    for (const i of manifest.segments.keys()) {
      segments.push(await table.#loadSegment(manifest, i, parts[i]!, { known, onDocument, seen }));
    }
    return table;
  }

  async #loadSegment(
    manifest: Manifest,
    i: number,
    { path, bytes }: SegmentPart,
    { known, onDocument, seen }: LoadDocumentsOptions & { seen: Set<string> },
  ): Promise<Segment> {
    const segment = manifest.segments[i]!;
    const before = { row: this.length, start: this.entries, offset: this.#bytes };
    const lines = await DocumentLines.load({
      path,
      bytes,
      documents: segment.documents,
      isGrowing: isGrowing(manifest, segment),
      known: known ? known.#segments[i]?.lines : undefined,
      onLine: (document, _, start) => {
        if (this.#isGone(before.start + start)) return;
        const { id } = document;
        if (seen.has(id) || (known && this.find(id)))
          throw corruptTable(path, `the id ${JSON.stringify(id)} is there twice`);
        seen.add(id);
        onDocument?.({ ...document, start: before.start + start });
      },
    });
    const entries = lines.starts[lines.length]!;
    if (entries !== segment.entries)
      throw corruptTable(path, `it lists ${entries} entries, the manifest ${segment.entries}`);
    return { lines, ...before };
  }

  /** Rows, deleted ones included. */
  get length(): number {
    const last = this.#segments.at(-1);
    return last ? last.row + last.lines.length : 0;
  }

  /** Of all rows. */
  get entries(): number {
    const last = this.#segments.at(-1);
    return last ? last.start + last.lines.starts[last.lines.length]! : 0;
  }

  /** Documents that are not deleted. */
  get live(): number {
    const gone = this.#deleted.map(([start, end]) => this.#rowFrom(end) - this.#rowFrom(start));
    return gone.reduce((left, rows) => left - rows, this.length);
  }

  get #bytes(): number {
    const last = this.#segments.at(-1);
    return last ? last.offset + last.lines.bytes.length : 0;
  }

  /** @param row 0 to length - 1 */
  at(row: number): DocumentRecord {
    if (!(row >= 0 && row < this.length)) throw new Error(`no document row ${row}`);
    const { lines, row: first, start } = this.#segmentOf(row);
    const { id, source, hash, length, metadata, sourceText } = lines.at(row - first);
    return {
      id,
      source,
      hash,
      start: start + lines.starts[row - first]!,
      length,
      ...(metadata === undefined ? {} : { metadata }),
      ...(sourceText === undefined ? {} : { sourceText }),
    };
  }

  /** Bytes [start, end) of a row's line in the concatenation of all segments' lines. */
  lineRange(row: number): [start: number, end: number] {
    const { lines, row: first, offset } = this.#segmentOf(row);
    const [start, end] = lines.lineRange(row - first);
    return [offset + start, offset + end];
  }

  /** Id of a row's first entry. @param row 0 to length; the last gives n */
  startOf(row: number): number {
    if (row === this.length) return this.entries;
    const { lines, row: first, start } = this.#segmentOf(row);
    return start + lines.starts[row - first]!;
  }

  /** A segment's lines as they are in its file. */
  linesOf(segment: number): Buffer {
    return this.#segments[segment]!.lines.bytes;
  }

  /** Whether a segment has the same documents as in another state, and so the same values. */
  sharesLines(other: DocumentTable, segment: number): boolean {
    const [own, others] = [this, other].map((table) => table.#segments[segment]?.lines);
    return own !== undefined && own === others;
  }

  isDeleted(row: number): boolean {
    return this.#isGone(this.startOf(row));
  }

  /** @param start of a document */
  #isGone(start: number): boolean {
    const i = lastAtMost(this.#deleted.length, (range) => this.#deleted[range]![0] <= start);
    return i >= 0 && start < this.#deleted[i]![1];
  }

  /** A live document. */
  find(id: string): DocumentRecord | undefined {
    for (let s = this.#segments.length - 1; s >= 0; s--) {
      const { lines, row: first } = this.#segments[s]!;
      for (const row of lines.rowsOf(id))
        if (!this.isDeleted(first + row)) return this.at(first + row);
    }
    return undefined;
  }

  /** The document that an entry belongs to, in O(log n). @param entry 0 to n - 1 */
  locate(entry: number): { row: number; document: DocumentRecord; position: number } {
    if (!(entry >= 0 && entry < this.entries)) throw new Error(`no entry ${entry}`);
    const { lines, row: first, start } = this.#segmentAt(entry);
    const row = first + lastStart(lines, entry - start);
    const document = this.#located(row);
    return { row, document, position: entry - document.start };
  }

  /** Neighbors of one token after another are of the same few documents. */
  #located(row: number): DocumentRecord {
    let document = this.#lately.get(row);
    if (document === undefined) {
      document = this.at(row);
      if (this.#lately.size === MOST_LATELY) this.#lately.clear();
      this.#lately.set(row, document);
    }
    return document;
  }

  /** Whether an entry is not its document's last. @param entry 0 to n - 1 */
  continues(entry: number): boolean {
    const { lines, start } = this.#segmentAt(entry);
    return entry - start + 1 < lines.starts[lastStart(lines, entry - start) + 1]!;
  }

  /** Rows of live documents, in entry order. */
  *liveRows(): Generator<number> {
    for (let row = 0; row < this.length; row++) if (!this.isDeleted(row)) yield row;
  }

  /** Live documents. */
  *[Symbol.iterator](): Iterator<DocumentRecord> {
    for (const row of this.liveRows()) yield this.at(row);
  }

  /** The first row that starts at an entry or after it. */
  #rowFrom(entry: number): number {
    return 1 + lastAtMost(this.length, (row) => this.startOf(row) < entry);
  }

  /** The segment of an entry. */
  #segmentAt(entry: number): Segment {
    let low = 0;
    let high = this.#segments.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#segments[middle]!.start <= entry) low = middle + 1;
      else high = middle;
    }
    return this.#segments[low - 1]!;
  }

  #segmentOf(row: number): Segment {
    return this.#segments[lastAtMost(this.#segments.length, (i) => this.#segments[i]!.row <= row)]!;
  }
}

/** The row of the last line that starts at an entry of the segment or before it. Like `#segmentAt` without a closure: both are asked for every neighbor. */
function lastStart({ starts, length }: DocumentLines, entry: number): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (starts[middle]! <= entry) low = middle + 1;
    else high = middle;
  }
  return low - 1;
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
