/** Opens a lists file and checks all of it but the lists, which are checked when they are read. Synchronous: for workers. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { ioError, KnnLMError } from '../../errors.ts';
import type { CodeSpace } from '../query-code.ts';
import { corruptIndex, type IvfHeader } from './ivf-header.ts';
import { listOffsets, type TableLayout, tableLayout } from './lists-file.ts';

export interface OpenTable {
  handle: number;
  layout: TableLayout;
  /** The file's first bytes, up to the first list. */
  bytes: Uint8Array;
  space: CodeSpace;
  /** (L) rows of each list. */
  rows: Uint32Array;
  /** (L + 1) */
  offsets: Float64Array;
  /** (L) CRC-32 */
  checksums: Uint32Array;
}

export function openTable(path: string, header: IvfHeader): OpenTable {
  const layout = tableLayout(header.dim, header.lists, header.codec);
  let handle: number | undefined;
  try {
    handle = openSync(path, 'r');
    const fileBytes = fstatSync(handle).size;
    if (fileBytes !== header.file.bytes || fileBytes < layout.end) {
      throw corruptIndex(
        `The index file ${path} has ${fileBytes} bytes, but should have ${header.file.bytes}`,
      );
    }
    const bytes = new Uint8Array(layout.end);
    readFully(handle, bytes, { path, position: 0 });
    if (crc32(bytes) !== header.file.tableCrc32) {
      throw corruptIndex(`The table of the index file ${path} does not match its checksum`);
    }
    const rows = new Uint32Array(bytes.buffer, layout.rows, header.lists);
    const { product } = layout;
    const sizes = product && new Uint32Array(bytes.buffer, product.sizes, header.lists);
    return {
      handle,
      layout,
      bytes,
      space: spaceOf(header, bytes, layout),
      rows,
      offsets: listOffsets(rows, layout, sizes),
      checksums: new Uint32Array(bytes.buffer, layout.checksums, header.lists),
    };
  } catch (cause) {
    if (handle !== undefined) closeSync(handle);
    throw cause instanceof KnnLMError ? cause : ioError('read', path, cause);
  }
}

/** Fills `target` from a place in the file. Errors: `STORE_CORRUPT` where the file ends, `IO`. */
export function readFully(
  handle: number,
  target: Uint8Array,
  { path, position }: { path: string; position: number },
): void {
  for (let done = 0; done < target.length; ) {
    let got: number;
    try {
      got = readSync(handle, target, done, target.length - done, position + done);
    } catch (cause) {
      throw ioError('read', path, cause);
    }
    if (got === 0) throw corruptIndex(`The index file ${path} ends at byte ${position + done}`);
    done += got;
  }
}

function spaceOf({ dim, unit }: IvfHeader, { buffer }: Uint8Array, layout: TableLayout): CodeSpace {
  const mean = new Float32Array(buffer, layout.mean, dim);
  const scale = new Float32Array(buffer, layout.scale, dim);
  return { dim, unit, mean, scale, worstError: 0, longestCode: 0, meanScale: 0 };
}
