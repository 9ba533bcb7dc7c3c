/** Appends to the files of the segment that is being written. */

import { dirname } from 'node:path';
import { KnnLMError } from '../errors.ts';
import { floatsToHalf } from '../math/half.ts';
import type { KeyDtype } from '../math/vectors.ts';
import { ChecksummedFile } from './checksummed-file.ts';
import { makeFolder, syncFolder } from './files.ts';
import type { Manifest } from './manifest.ts';
import { type SegmentPart, segmentFolder, segmentParts } from './segment.ts';

/** Key elements converted before the event loop gets its turn: under a millisecond or two. */
const SLICE = 300_000;

type Part = SegmentPart['part'];

export class SegmentWriter {
  /** Undefined in a segment without keys. */
  readonly #keys: ChecksummedFile | undefined;
  readonly #values: ChecksummedFile;
  readonly #documents: ChecksummedFile;
  readonly #dtype: KeyDtype;
  readonly #tensor: string;
  readonly #wideValues: boolean;
  readonly #vocabSize: number;

  private constructor(manifest: Manifest, files: ReadonlyMap<Part, ChecksummedFile>) {
    this.#keys = files.get('keys');
    this.#values = files.get('values')!;
    this.#documents = files.get('documents')!;
    this.#dtype = manifest.key.dtype;
    this.#tensor = manifest.key.tensor;
    this.#wideValues = manifest.values.dtype === 'u32';
    this.#vocabSize = manifest.values.vocabSize;
  }

  /** Opens the manifest's last segment at the sizes the manifest acknowledges; what lies beyond is cut off. */
  static async open(store: string, manifest: Manifest): Promise<SegmentWriter> {
    const segment = manifest.segments.at(-1)!;
    const folder = segmentFolder(store, segment.name);
    await makeFolder(folder);
    const files = new Map<Part, ChecksummedFile>();
    try {
      for (const { part, path, bytes } of segmentParts(store, manifest, segment))
        files.set(part, await ChecksummedFile.open(path, bytes));
      await syncFolder(folder);
      await syncFolder(dirname(folder));
      await syncFolder(store);
    } catch (error) {
      for (const file of files.values()) await file.close();
      throw error;
    }
    return new SegmentWriter(manifest, files);
  }

  /** @param keys (n, d) floats or, for an fp16 store, halves */
  async appendKeys(keys: Float32Array | Uint16Array): Promise<void> {
    if (keys instanceof Uint16Array) {
      if (this.#dtype !== 'fp16') throw new Error('halves given to a datastore of fp32 keys');
      await this.#keys!.append(bytesOf(keys));
      return;
    }
    for (let start = 0; start < keys.length; start += SLICE) {
      if (start > 0) await new Promise(setImmediate);
      await this.#appendFloats(keys.subarray(start, start + SLICE));
    }
  }

  async #appendFloats(slice: Float32Array): Promise<void> {
    if (this.#dtype === 'fp32') {
      const bad = slice.findIndex((x) => !Number.isFinite(x));
      if (bad >= 0) throw this.#unstorable(slice[bad]!);
      await this.#keys!.append(bytesOf(slice));
      return;
    }
    const halves = new Uint16Array(slice.length);
    const bad = floatsToHalf(halves, slice);
    if (bad >= 0) throw this.#unstorable(slice[bad]!);
    await this.#keys!.append(bytesOf(halves));
  }

  #unstorable(value: number): KnnLMError {
    return unstorableKey(this.#tensor, value);
  }

  /** @param values (n) token ids */
  async appendValues(values: Uint32Array | Int32Array): Promise<void> {
    for (let i = 0; i < values.length; i++) {
      if (!(values[i]! >= 0 && values[i]! < this.#vocabSize))
        throw new Error(`token ${values[i]} lies outside the vocabulary of ${this.#vocabSize}`);
    }
    await this.#values.append(bytesOf(this.#wideValues ? values : Uint16Array.from(values)));
  }

  async appendDocumentLine(line: string): Promise<void> {
    await this.#documents.append(Buffer.from(line, 'utf8'));
  }

  /** Appends to a part what was in one before, byte by byte. */
  async appendBytes(part: Part, bytes: Uint8Array): Promise<void> {
    const files = { keys: this.#keys, values: this.#values, documents: this.#documents };
    await files[part]!.append(bytes);
  }

  get documentBytes(): number {
    return this.#documents.size;
  }

  /** Forgets everything beyond what the manifest acknowledges. */
  async cutTo(store: string, manifest: Manifest): Promise<void> {
    const files = { keys: this.#keys, values: this.#values, documents: this.#documents };
    for (const { part, bytes } of segmentParts(store, manifest, manifest.segments.at(-1)!))
      await files[part]!.cutTo(bytes);
  }

  async sync(): Promise<void> {
    await this.#each((file) => file.sync());
  }

  async seal(): Promise<void> {
    await this.#each((file) => file.seal());
  }

  async close(): Promise<void> {
    await this.#each((file) => file.close());
  }

  /** All finish before a failure is told, so that no write is under way when the files are closed. */
  async #each(work: (file: ChecksummedFile) => Promise<void>): Promise<void> {
    const files = [this.#keys, this.#values, this.#documents].filter((file) => file !== undefined);
    const results = await Promise.allSettled(files.map(work));
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }
}

/** What to say of a key that the store's dtype cannot hold. */
export function unstorableKey(tensor: string, value: number): KnnLMError {
  return Number.isFinite(value)
    ? new KnnLMError(
        'MODEL_UNSUPPORTED',
        `A value of the key tensor ${tensor} is ${value}, beyond the ±65504 that fp16 can hold. Build with --key-dtype fp32.`,
      )
    : new KnnLMError(
        'MODEL_UNSUPPORTED',
        `A value of the key tensor ${tensor} is ${value}. The model overflows: use another --dtype or another --key.`,
      );
}

const bytesOf = (array: Float32Array | Uint16Array | Uint32Array | Int32Array): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
