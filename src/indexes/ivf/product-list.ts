/**
 * The bytes of a list of product codes, r rows in ascending entry id:
 *
 *   f32 least bias, f32 step; (r) u8 bias; (r, M) u8 code; gaps: the first id and then the differences, in groups of 7 bits
 *
 * Codes of 4 bits lie in blocks of 16 rows instead, the last one filled up: (M / 2, 16) u8, each byte the codes of two
 * neighboring sub-quantizers of one row, low half first; so one instruction looks up 16 rows.
 *
 * A row's bias is least + step · u8. Ids of a list lie some thousands apart, so a gap takes two bytes instead of four.
 */
import { crc32 } from 'node:zlib';
import type { Codec } from './codec.ts';
import type { PackedLists } from './write-product-file.ts';

/** Byte offsets within a list. */
export interface ProductListLayout {
  least: number;
  step: number;
  biases: number;
  codes: number;
  gaps: number;
}

/** Rows of a block of 4-bit codes. */
export const BLOCK = 16;

/** Bytes of the codes of so many rows. */
export const codeBytes = ({ subquantizers, bits }: Codec, rows: number): number =>
  bits === 8 ? rows * subquantizers : Math.ceil(rows / BLOCK) * BLOCK * (subquantizers / 2);

export function productListLayout(rows: number, codec: Codec): ProductListLayout {
  const codes = 8 + rows;
  return { least: 0, step: 4, biases: 8, codes, gaps: codes + codeBytes(codec, rows) };
}

/** Rows of a list, as they are before they are packed. */
export interface ProductRows {
  /** (r) ascending entry ids. */
  ids: Uint32Array;
  /** (r) */
  biases: Float32Array;
  /** (r, M) one byte each. */
  codes: Uint8Array;
  /** What biases were rounded to; it is kept while they fit, so that rewriting a list rounds nothing twice. */
  grid?: BiasGrid;
}

interface BiasGrid {
  least: number;
  step: number;
}

export function packList(list: ProductRows, codec: Codec): Uint8Array {
  const { ids, biases, codes } = list;
  const rows = ids.length;
  const at = productListLayout(rows, codec);
  const gaps = packGaps(ids);
  const bytes = new Uint8Array(at.gaps + gaps.length);
  const { least, step } = gridOf(list);
  const view = new DataView(bytes.buffer);
  view.setFloat32(at.least, least, true);
  view.setFloat32(at.step, step, true);
  for (let i = 0; i < rows; i++) {
    const units = step > 0 ? Math.round((biases[i]! - least) / step) : 0;
    bytes[at.biases + i] = Math.min(255, Math.max(0, units));
  }
  bytes.set(codec.bits === 8 ? codes : packBlocks(codes, rows, codec), at.codes);
  bytes.set(gaps, at.gaps);
  return bytes;
}

function gridOf({ biases, grid }: ProductRows): BiasGrid {
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (const bias of biases) {
    least = Math.min(least, bias);
    most = Math.max(most, bias);
  }
  if (biases.length === 0) return { least: 0, step: 0 };
  const half = grid ? grid.step / 2 : 0;
  if (grid && least >= grid.least - half && most <= grid.least + 255 * grid.step + half)
    return grid;
  return { least, step: Math.fround((most - least) / 255) };
}

export function packLists(lists: readonly ProductRows[], codec: Codec): PackedLists {
  const packed = lists.map((rows) => packList(rows, codec));
  return {
    bytes: Buffer.concat(packed),
    sizes: Uint32Array.from(packed, ({ length }) => length),
    rows: Uint32Array.from(lists, ({ ids }) => ids.length),
    checksums: Uint32Array.from(packed, (bytes) => crc32(bytes)),
  };
}

export function unpackList(bytes: Uint8Array, rows: number, codec: Codec): ProductRows {
  const at = productListLayout(rows, codec);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const least = view.getFloat32(at.least, true);
  const step = view.getFloat32(at.step, true);
  const biases = Float32Array.from(
    bytes.subarray(at.biases, at.codes),
    (bias) => least + step * bias,
  );
  const ids = unpackGaps(bytes.subarray(at.gaps), rows);
  const codes = bytes.slice(at.codes, at.gaps);
  const grid = { least, step };
  return { ids, biases, codes: codec.bits === 8 ? codes : unpackBlocks(codes, rows, codec), grid };
}

/** Where the two codes of a pair of sub-quantizers lie. */
const placeOf = (row: number, pair: number, pairs: number): number =>
  (Math.floor(row / BLOCK) * pairs + pair) * BLOCK + (row % BLOCK);

function packBlocks(codes: Uint8Array, rows: number, codec: Codec): Uint8Array {
  const bytes = new Uint8Array(codeBytes(codec, rows));
  const pairs = codec.subquantizers / 2;
  for (let row = 0; row < rows; row++) {
    for (let pair = 0; pair < pairs; pair++) {
      const from = 2 * (row * pairs + pair);
      bytes[placeOf(row, pair, pairs)] = codes[from]! | (codes[from + 1]! << 4);
    }
  }
  return bytes;
}

function unpackBlocks(bytes: Uint8Array, rows: number, codec: Codec): Uint8Array {
  const pairs = codec.subquantizers / 2;
  const codes = new Uint8Array(rows * codec.subquantizers);
  for (let row = 0; row < rows; row++) {
    for (let pair = 0; pair < pairs; pair++) {
      const byte = bytes[placeOf(row, pair, pairs)]!;
      codes[2 * (row * pairs + pair)] = byte & 15;
      codes[2 * (row * pairs + pair) + 1] = byte >> 4;
    }
  }
  return codes;
}

function packGaps(ids: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(5 * ids.length);
  let end = 0;
  let before = 0;
  for (const id of ids) {
    let gap = id - before;
    before = id;
    for (; gap > 127; gap = Math.floor(gap / 128)) bytes[end++] = (gap & 127) | 128;
    bytes[end++] = gap;
  }
  return bytes.subarray(0, end);
}

function unpackGaps(bytes: Uint8Array, rows: number): Uint32Array {
  const ids = new Uint32Array(rows);
  let at = 0;
  let id = 0;
  for (let i = 0; i < rows; i++) {
    for (let unit = 1; ; unit *= 128) {
      const byte = bytes[at++]!;
      id += (byte & 127) * unit;
      if (byte < 128) break;
    }
    ids[i] = id;
  }
  return ids;
}
