/**
 * An append-only file with a CRC-32 per block of 1 MiB in `FILE.crc` beside it, little-endian u32 each.
 * While the file grows, `FILE.crc` holds the full blocks; sealing adds the last, partial one.
 */
import { crc32 } from 'node:zlib';
import { KnnLMError } from '../errors.ts';
import { DataFile, readWhole } from './files.ts';

export const BLOCK_BYTES = 1024 * 1024;

/** Bytes of the checksum file of a sealed file. */
export const checksumBytes = (bytes: number): number => 4 * Math.ceil(bytes / BLOCK_BYTES);

export class ChecksummedFile {
  readonly path: string;
  readonly #data: DataFile;
  readonly #checksums: DataFile;
  /** The block being filled. */
  readonly #block = Buffer.alloc(BLOCK_BYTES);
  /** Bytes in full blocks. */
  #blocksEnd = 0;
  /** Bytes of `#block` in use, and how many of them are in the file. */
  #filled = 0;
  #written = 0;
  /** Checksums of full blocks not yet in the file. */
  #newChecksums: number[] = [];

  private constructor(data: DataFile, checksums: DataFile) {
    this.path = data.path;
    this.#data = data;
    this.#checksums = checksums;
  }

  /**
   * Opens for appending after byte `size`; whatever lies beyond was never acknowledged and is cut off.
   * Errors: `STORE_CORRUPT` when the file is shorter.
   */
  static async open(path: string, size: number): Promise<ChecksummedFile> {
    const flags = size === 0 ? 'w+' : 'r+';
    const data = await DataFile.open(path, flags);
    try {
      const checksums = await DataFile.open(`${path}.crc`, flags);
      const file = new ChecksummedFile(data, checksums);
      try {
        await file.cutTo(size);
        return file;
      } catch (error) {
        await checksums.close();
        throw error;
      }
    } catch (error) {
      await data.close();
      throw error;
    }
  }

  get size(): number {
    return this.#blocksEnd + this.#filled;
  }

  /** Forgets everything after byte `size`, in memory and on disk. */
  async cutTo(size: number): Promise<void> {
    const blocks = Math.floor(size / BLOCK_BYTES);
    await cut(this.#data, size);
    await cut(this.#checksums, blocks * 4);
    this.#blocksEnd = blocks * BLOCK_BYTES;
    this.#filled = this.#written = size - this.#blocksEnd;
    this.#newChecksums = [];
    await this.#data.read(this.#block.subarray(0, this.#filled), this.#blocksEnd);
  }

  async append(bytes: Uint8Array): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      const take = Math.min(bytes.length - done, BLOCK_BYTES - this.#filled);
      this.#block.set(bytes.subarray(done, done + take), this.#filled);
      this.#filled += take;
      done += take;
      if (this.#filled === BLOCK_BYTES) await this.#endBlock();
    }
  }

  async #endBlock(): Promise<void> {
    await this.#writeBlock();
    this.#newChecksums.push(crc32(this.#block));
    this.#blocksEnd += BLOCK_BYTES;
    this.#filled = this.#written = 0;
  }

  async #writeBlock(): Promise<void> {
    if (this.#written === this.#filled) return;
    const bytes = this.#block.subarray(this.#written, this.#filled);
    await this.#data.write(bytes, this.#blocksEnd + this.#written);
    this.#written = this.#filled;
  }

  async #writeChecksums(values: readonly number[], block: number): Promise<void> {
    if (values.length === 0) return;
    const bytes = Buffer.alloc(values.length * 4);
    values.forEach((value, i) => {
      bytes.writeUInt32LE(value, i * 4);
    });
    await this.#checksums.write(bytes, block * 4);
  }

  /** Returns once everything appended is on the disk. */
  async sync(): Promise<void> {
    await this.#writeBlock();
    const first = this.#blocksEnd / BLOCK_BYTES - this.#newChecksums.length;
    await this.#writeChecksums(this.#newChecksums, first);
    this.#newChecksums = [];
    await Promise.all([this.#data.sync(), this.#checksums.sync()]);
  }

  /** Syncs and adds the last block's checksum: the file is whole. */
  async seal(): Promise<void> {
    if (this.#filled > 0) {
      const last = crc32(this.#block.subarray(0, this.#filled));
      await this.#writeChecksums([last], this.#blocksEnd / BLOCK_BYTES);
    }
    await this.sync();
  }

  async close(): Promise<void> {
    await Promise.all([this.#data.close(), this.#checksums.close()]);
  }
}

async function cut(file: DataFile, size: number): Promise<void> {
  const seen = await file.size();
  if (seen < size) throw truncatedFile(file.path, size, seen);
  if (seen > size) await file.truncate(size);
}

export function truncatedFile(path: string, expected: number, seen: number): KnnLMError {
  return new KnnLMError(
    'STORE_CORRUPT',
    `${path} is damaged: it should hold ${expected} bytes but ${seen === 0 ? 'is empty or missing' : `holds ${seen}`}. Restore it from a backup or build the datastore again.`,
  );
}

/** The checksums of a finished file. Errors: `STORE_CORRUPT` when there are not as many as it has blocks. */
export async function readChecksums(path: string, bytes: number): Promise<Buffer> {
  if (bytes === 0) return Buffer.alloc(0);
  const checksums = await readWhole(`${path}.crc`);
  if (checksums.length === checksumBytes(bytes)) return checksums;
  throw truncatedFile(`${path}.crc`, checksumBytes(bytes), checksums.length);
}

/** @param index of the block in its file. Errors: `STORE_CORRUPT` naming the bytes */
export function checkBlock(
  path: string,
  { block, index, checksums }: { block: Uint8Array; index: number; checksums: Buffer },
): void {
  if (crc32(block) === checksums.readUInt32LE(index * 4)) return;
  const first = index * BLOCK_BYTES;
  throw new KnnLMError(
    'STORE_CORRUPT',
    `${path} is damaged: bytes ${first} to ${first + block.length} do not match their checksum. Restore it from a backup or build the datastore again.`,
  );
}
