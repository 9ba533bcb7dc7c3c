/**
 * The bytes of an inverted file: `lists-….bin`, little-endian, written once and never changed.
 *
 *   head     64 bytes: "KNNLMIVF", u32 version, u32 d, u32 padded width p, u32 lists L, rest zero
 *   space    (p) f32 mean, (p) f32 scale of the code (`kernels/quantize.ts`)
 *   table    of the L centroids, coded as keys are, counts rounded up to a multiple of 4 (L'):
 *            (L') f32 code scale, (L') f32 bias, (L') f32 spread, (L', p) u8 code, (L') u32 rows, (L') u32 CRC-32 of the list
 *   lists    one after the other, each at a multiple of 64, rows rounded up to a multiple of 4 (r'):
 *            (r') u32 entry id, (r') f32 code scale, (r') f32 bias, (r', p) u8 code
 *
 * Rows that only round up have a NaN bias. A list's spread is the mean squared distance of its rows from the centroid.
 *
 * Version 2 has product codes (`codec.ts`). Behind the table's checksums come
 *            (L') u32 bytes of each list, (width, p) f32 rotation, (M, part, words) f32 codebooks
 * and lists lie without gaps (`product-list.ts`).
 */
import { paddedWidth } from '../chunk.ts';
import { type Codec, type ProductShape, productShape } from './codec.ts';

export const MAGIC = 'KNNLMIVF';
export const HEAD_BYTES = 64;

export const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to;

/** Byte offsets of the parts of the table, from the file's start. */
export interface TableLayout {
  /** p */
  padded: number;
  lists: number;
  mean: number;
  scale: number;
  scales: number;
  biases: number;
  spreads: number;
  codes: number;
  rows: number;
  checksums: number;
  /** Of product codes only. */
  product: ProductLayout | undefined;
  /** End of the table, start of the first list. */
  end: number;
}

export interface ProductLayout extends ProductShape {
  codec: Codec;
  /** Byte offsets. */
  sizes: number;
  rotation: number;
  books: number;
  end: number;
}

export function tableLayout(dim: number, lists: number, codec?: Codec): TableLayout {
  const padded = paddedWidth(dim);
  const column = roundUp(lists, 4) * 4;
  const mean = HEAD_BYTES;
  const scale = mean + padded * 4;
  const scales = scale + padded * 4;
  const biases = scales + column;
  const spreads = biases + column;
  const codes = spreads + column;
  const rows = codes + (column / 4) * padded;
  const checksums = rows + column;
  const product = codec && productLayout(codec, { dim, padded, start: checksums + column, column });
  const end = roundUp(product?.end ?? checksums + column, 64);
  const table = { padded, lists, mean, scale, scales, biases, spreads, codes, rows, checksums };
  return { ...table, product, end };
}

function productLayout(
  codec: Codec,
  { dim, padded, start, column }: { dim: number; padded: number; start: number; column: number },
): ProductLayout {
  const shape = productShape(codec, dim);
  const rotation = start + column;
  const books = rotation + shape.width * padded * 4;
  return {
    ...shape,
    codec,
    sizes: start,
    rotation,
    books,
    end: books + shape.width * shape.words * 4,
  };
}

/** Byte offsets within a list of so many rows. */
export interface ListLayout {
  ids: number;
  scales: number;
  biases: number;
  codes: number;
  /** Bytes in all, a multiple of 64. */
  bytes: number;
}

export function listLayout(rows: number, padded: number): ListLayout {
  const column = roundUp(rows, 4) * 4;
  const codes = 3 * column;
  return {
    ids: 0,
    scales: column,
    biases: 2 * column,
    codes,
    bytes: roundUp(codes + (column / 4) * padded, 64),
  };
}

/**
 * (L + 1) where each list starts in the file, and its end.
 * @param sizes (L) bytes of each, of product codes
 */
export function listOffsets(
  rows: Uint32Array,
  table: TableLayout,
  sizes?: Uint32Array,
): Float64Array {
  const offsets = new Float64Array(rows.length + 1);
  offsets[0] = table.end;
  for (let l = 0; l < rows.length; l++) {
    offsets[l + 1] = offsets[l]! + (sizes ? sizes[l]! : listLayout(rows[l]!, table.padded).bytes);
  }
  return offsets;
}

export function writeHead(target: Uint8Array, dim: number, table: TableLayout): void {
  target.set(Buffer.from(MAGIC, 'latin1'));
  const view = new DataView(target.buffer, target.byteOffset);
  const version = table.product ? 2 : 1;
  for (const [i, value] of [version, dim, table.padded, table.lists].entries()) {
    view.setUint32(MAGIC.length + 4 * i, value, true);
  }
}
