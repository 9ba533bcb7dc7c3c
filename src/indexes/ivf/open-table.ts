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
  const layout = tableLayout(header.dim, header.lists);
  let handle: number | undefined;
  try {
    handle = openSync(path, 'r');
    const bytes = new Uint8Array(layout.end);
    let done = 0;
    for (let got = 1; got > 0 && done < bytes.length; done += got) {
      got = readSync(handle, bytes, done, bytes.length - done, done);
    }
    const fileBytes = fstatSync(handle).size;
    if (done < bytes.length || fileBytes !== header.file.bytes) {
      throw corruptIndex(
        `The index file ${path} has ${fileBytes} bytes, but should have ${header.file.bytes}`,
      );
    }
    if (crc32(bytes) !== header.file.tableCrc32) {
      throw corruptIndex(`The table of the index file ${path} does not match its checksum`);
    }
    const rows = new Uint32Array(bytes.buffer, layout.rows, header.lists);
    return {
      handle,
      layout,
      bytes,
      space: spaceOf(header, bytes, layout),
      rows,
      offsets: listOffsets(rows, layout),
      checksums: new Uint32Array(bytes.buffer, layout.checksums, header.lists),
    };
  } catch (cause) {
    if (handle !== undefined) closeSync(handle);
    throw cause instanceof KnnLMError ? cause : ioError('read', path, cause);
  }
}

function spaceOf({ dim, unit }: IvfHeader, { buffer }: Uint8Array, layout: TableLayout): CodeSpace {
  const mean = new Float32Array(buffer, layout.mean, dim);
  const scale = new Float32Array(buffer, layout.scale, dim);
  return { dim, unit, mean, scale, worstError: 0, longestCode: 0, meanScale: 0 };
}
