/**
 * Builds a datastore, document by document. What `commit` has acknowledged survives a crash at any moment, inside a
 * document too; what came after is cut off by the next writer, which goes on from there and gives the same bytes.
 *
 *     data files: append, fsync   →   manifest: write beside, fsync, rename   →   acknowledged
 */
import { KnnLMError } from '../errors.ts';
import { checkSizes } from './check-sizes.ts';
import { DocumentTable } from './document-table.ts';
import {
  addRange,
  entriesOf,
  headerOf,
  type Manifest,
  type PartialDocument,
  type StoreHeader,
  writeManifest,
} from './manifest.ts';
import {
  openManifest,
  prepareFolder,
  type WriteMode,
  withdrawEmptyAdd,
} from './open-for-writing.ts';
import { partialEntries, requireLittleEndian } from './segment.ts';
import { SegmentWriter } from './segment-writer.ts';
import { removeLeftovers } from './store-cleanup.ts';
import { lockStore, type StoreLock } from './store-lock.ts';
import { documentLine } from './stored-document.ts';
import type { DocumentRecord, SettingsRecord } from './types.ts';

export interface WriterOptions {
  /** `build` (default) makes a datastore or goes on with a half-built one; `add` gives a finished one a new segment. */
  mode?: WriteMode;
  /**
   * A known id with another text replaces the stored document: the old one goes in the commit that acknowledges the new
   * one. Equal texts under different ids are then no duplicates, since either may be about to change. Default false.
   */
  replace?: boolean;
}

/** A live document, as far as the writer needs to know it. */
interface KnownDocument {
  hash: string;
  start: number;
  length: number;
}

/** Whether a document has to be written. */
export type DocumentStatus = 'new' | 'partial' | 'done' | 'duplicate';

export class DatastoreWriter {
  readonly path: string;
  /** As stored. */
  readonly header: StoreHeader;
  /** What this build or add had acknowledged before this session, a partial document's entries included. */
  readonly resumed: { documents: number; entries: number };
  /** Documents replaced in this session. */
  replaced = 0;
  readonly #replace: boolean;
  readonly #lock: StoreLock;
  readonly #segment: SegmentWriter;
  /** The state in memory; what was last written to disk may be older. */
  readonly #manifest: Manifest;
  /** Live documents by id; and the hashes of their texts. */
  readonly #known: Map<string, KnownDocument>;
  readonly #hashes: Set<string>;
  /** Ids and hashes given out by `claim`. */
  readonly #claimed = new Map<string, string>();
  readonly #claimedHashes = new Set<string>();
  /** A document is begun and not ended. A partial one from an earlier session is in the manifest but not open. */
  #open = false;
  #changed = false;
  #busy = false;
  #failure: unknown;
  #closed = false;

  private constructor(
    path: string,
    manifest: Manifest,
    parts: {
      lock: StoreLock;
      segment: SegmentWriter;
      known: Map<string, KnownDocument>;
      hashes: Set<string>;
      replace: boolean;
    },
  ) {
    this.path = path;
    this.#manifest = manifest;
    this.header = headerOf(manifest);
    this.#lock = parts.lock;
    this.#segment = parts.segment;
    this.#known = parts.known;
    this.#replace = parts.replace;
    this.#hashes = parts.hashes;
    const { documents, entries } = manifest.segments.at(-1)!;
    this.resumed = { documents, entries: entries + partialEntries(manifest) };
  }

  /**
   * Takes the lock and opens the store for writing.
   * In mode `build` a missing or empty folder becomes a datastore, a half-built one of the same header is resumed.
   * In mode `add` a finished one gets a new segment, a half-done add is resumed.
   * Errors: `STORE_EXISTS`, `STORE_NOT_FOUND`, `STORE_LOCKED`, `STORE_CORRUPT`, `MODEL_MISMATCH`, `INVALID_ARGUMENT`, `IO`.
   */
  static async open(
    path: string,
    header: StoreHeader,
    options: WriterOptions = {},
  ): Promise<DatastoreWriter> {
    requireLittleEndian();
    const mode = options.mode ?? 'build';
    await prepareFolder(path, mode);
    const lock = await lockStore(path);
    let segment: SegmentWriter | undefined;
    try {
      const manifest = await openManifest(path, header, mode);
      await removeLeftovers(path, manifest);
      await checkSizes(path, manifest);
      const known = new Map<string, KnownDocument>();
      const hashes = new Set<string>();
      await DocumentTable.load(path, manifest, {
        onDocument: ({ id, hash, start, length }) => {
          known.set(id, { hash, start, length });
          hashes.add(hash);
        },
      });
      segment = await SegmentWriter.open(path, manifest);
      const replace = options.replace ?? false;
      return new DatastoreWriter(path, manifest, { lock, segment, known, hashes, replace });
    } catch (error) {
      await segment?.close();
      await lock.release();
      throw error;
    }
  }

  /** Entries of complete documents in the whole store so far. */
  get entries(): number {
    return entriesOf(this.#manifest);
  }

  /** Complete documents in the whole store so far. */
  get documents(): number {
    return this.#manifest.segments.reduce((sum, segment) => sum + segment.documents, 0);
  }

  hasHash(hash: string): boolean {
    return this.#hashes.has(hash);
  }

  /**
   * `done`: the store has this id with this text. `duplicate`: another document has this text. `partial`: an earlier
   * session stopped inside it; begin it again to go on. Errors: `INVALID_DOCUMENT` for a known id with another text.
   */
  status(id: string, hash: string): DocumentStatus {
    const claimed = this.#claimed.get(id);
    const stored = this.#known.get(id)?.hash;
    const known = claimed ?? stored;
    if (known === hash) return 'done';
    if (claimed !== undefined) throw sameIdOtherText(id);
    if (stored !== undefined && !this.#replace) throw sameIdOtherText(id);
    if (!this.#replace && (this.#hashes.has(hash) || this.#claimedHashes.has(hash)))
      return 'duplicate';
    const partial = this.#open ? null : this.#manifest.building?.document;
    return partial?.id === id && partial.hash === hash ? 'partial' : 'new';
  }

  /** `status`, and from now on the document counts as stored: for builders that look ahead before they write. */
  claim(id: string, hash: string): DocumentStatus {
    const status = this.status(id, hash);
    if (status === 'new' || status === 'partial') {
      this.#claimed.set(id, hash);
      this.#claimedHashes.add(hash);
    }
    return status;
  }

  /**
   * Starts a document, or goes on with it where an earlier session stopped.
   * A partial document that is not this one (its file has changed or is gone) is dropped.
   * @returns entries of it that are stored already
   */
  async beginDocument(document: Omit<DocumentRecord, 'start'>): Promise<number> {
    return await this.#exclusively(async () => {
      if (this.#open) throw new Error('the document before has not ended');
      const { id, source, hash, length, sourceText } = document;
      const metadata = plainMetadata(document);
      if (!Number.isSafeInteger(length) || length < 1) throw new Error(`length is ${length}`);
      const known = this.#known.get(id);
      if (known?.hash === hash) throw new Error(`document ${id} is stored already`);
      if (known && !this.#replace) throw sameIdOtherText(id);
      const partial = this.#manifest.building!.document;
      if (partial && !isSame(partial, document)) await this.#dropPartial();
      const entriesDone = this.#manifest.building!.document?.entriesDone ?? 0;
      this.#manifest.building!.document = {
        ...{ id, source, hash, length, entriesDone, metadata },
        ...(sourceText !== undefined && { sourceText }),
      };
      this.#changed = true;
      this.#open = true;
      return entriesDone;
    });
  }

  /**
   * Appends entries to the open document.
   * @param keys (n, d) floats, converted here in slices; or halves for an fp16 store (`math/half.ts`, in the worker)
   * @param values (n) token ids
   * Errors: `MODEL_UNSUPPORTED` for a key that cannot be stored, `DISK_FULL`.
   */
  async append(keys: Float32Array | Uint16Array, values: Uint32Array | Int32Array): Promise<void> {
    await this.#exclusively(async () => {
      const document = this.#manifest.building!.document;
      if (!this.#open || !document) throw new Error('no document has begun');
      if (keys.length !== values.length * this.header.key.dim)
        throw new Error(`${keys.length} key elements for ${values.length} values`);
      if (document.entriesDone + values.length > document.length)
        throw new Error(`document ${document.id} is longer than the ${document.length} announced`);
      await this.#segment.appendKeys(keys);
      await this.#segment.appendValues(values);
      document.entriesDone += values.length;
      this.#changed = true;
    });
  }

  /** Throws a plain Error unless exactly the announced number of entries was appended. */
  async endDocument(): Promise<void> {
    await this.#exclusively(async () => {
      const document = this.#manifest.building!.document;
      if (!this.#open || !document) throw new Error('no document has begun');
      if (document.entriesDone !== document.length)
        throw new Error(
          `document ${document.id} has ${document.entriesDone} of ${document.length}`,
        );
      await this.#segment.appendDocumentLine(documentLine(document));
      const { id, hash, length } = document;
      this.#dropReplaced(id);
      this.#known.set(id, { hash, start: this.entries, length });
      const segment = this.#manifest.segments.at(-1)!;
      segment.documents++;
      segment.entries += length;
      segment.documentBytes = this.#segment.documentBytes;
      this.#manifest.building!.document = null;
      this.#hashes.add(document.hash);
      this.#open = false;
      this.#changed = true;
    });
  }

  /** The old and the new document change places in one manifest, so no reader sees both or neither. */
  #dropReplaced(id: string): void {
    const old = this.#known.get(id);
    if (!old) return;
    this.#manifest.deleted = addRange(this.#manifest.deleted, [old.start, old.start + old.length]);
    this.replaced++;
  }

  /** Once it returns, everything appended so far survives a crash or a power cut. */
  async commit(): Promise<void> {
    await this.#exclusively(() => this.#acknowledge());
  }

  async #acknowledge(): Promise<void> {
    if (!this.#changed) return;
    await this.#lock.check();
    await this.#segment.sync();
    await writeManifest(this.path, this.#manifest);
    this.#changed = false;
  }

  /**
   * Commits, completes the checksums and gives the lock back: the segment is immutable from now on.
   * @param settings null keeps the store's own
   * Errors: `NO_DOCUMENTS` when a build would end empty.
   */
  async finish(settings: SettingsRecord | null): Promise<void> {
    await this.#exclusively(async () => {
      if (this.#open) throw new Error('the last document has not ended');
      if (this.entries === 0)
        throw new KnnLMError(
          'NO_DOCUMENTS',
          `No document was added to ${this.path}. Give files with text in them.`,
        );
      if (this.#manifest.building!.document) await this.#dropPartial();
      await this.#lock.check();
      this.#manifest.settings = settings ?? this.#manifest.settings;
      // An add without a document is withdrawn when the files are closed.
      if (this.#manifest.segments.at(-1)!.documents > 0) {
        await this.#segment.seal();
        this.#manifest.building = null;
      }
      await writeManifest(this.path, this.#manifest);
      await this.#close();
    });
  }

  /**
   * Gives the lock back without finishing; the build can go on later. What was not acknowledged is dropped.
   * Does nothing after `finish` or a second time.
   * @param options.commit acknowledge first, unless the disk has failed
   */
  async abort(options: { commit?: boolean } = {}): Promise<void> {
    if (this.#closed) return;
    const { code } = (this.#failure ?? {}) as { code?: string };
    try {
      // After a refused key or a wrong call too: the manifest counts whole appends only.
      if (options.commit && code !== 'DISK_FULL' && code !== 'IO') await this.#acknowledge();
    } finally {
      await this.#close();
    }
  }

  async #dropPartial(): Promise<void> {
    this.#manifest.building!.document = null;
    await this.#segment.sync();
    await writeManifest(this.path, this.#manifest);
    await this.#segment.cutTo(this.path, this.#manifest);
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    try {
      await this.#segment.close();
      if (await this.#lock.isHeld()) await withdrawEmptyAdd(this.path);
    } finally {
      await this.#lock.release();
    }
  }

  /** One call at a time, none after a failure: what is in the files is then unknown, and a new writer must look. */
  async #exclusively<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new Error('the writer is closed');
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#busy) throw new Error('await the call before');
    this.#busy = true;
    try {
      return await work();
    } catch (error) {
      this.#failure = withAdvice(error);
      throw this.#failure;
    } finally {
      this.#busy = false;
    }
  }
}

/** As it will be read back. Errors: `INVALID_DOCUMENT` for what JSON cannot say. */
function plainMetadata({ id, metadata }: { id: string; metadata?: Record<string, unknown> }) {
  if (metadata === undefined) return undefined;
  try {
    return JSON.parse(JSON.stringify(metadata)) as Record<string, unknown>;
  } catch (cause) {
    const reason = (cause as Error).message.split('\n')[0];
    throw new KnnLMError(
      'INVALID_DOCUMENT',
      `The metadata of document ${JSON.stringify(id)} cannot be written as JSON: ${reason}. Give plain values.`,
      { cause },
    );
  }
}

const isSame = (partial: PartialDocument, document: Omit<DocumentRecord, 'start'>): boolean =>
  partial.id === document.id &&
  partial.hash === document.hash &&
  partial.length === document.length;

function sameIdOtherText(id: string): KnnLMError {
  return new KnnLMError(
    'INVALID_DOCUMENT',
    `The document id ${JSON.stringify(id)} is already stored with another text. Give it another id, or remove the stored one first.`,
  );
}

function withAdvice(error: unknown): unknown {
  if (!(error instanceof KnnLMError) || error.code !== 'DISK_FULL') return error;
  const message = `${error.message} What was acknowledged is safe: free some space and run the same command again to go on.`;
  return new KnnLMError('DISK_FULL', message, { cause: error.cause });
}
