/**
 * Scans many queries at once: blocks of codes times the matrix of queries on onnxruntime, then the admission test over
 * the products. A query is one column of 8-bit integers, or two columns (high and low digits) when one is too coarse.
 */
import type { ChunkView } from './chunk-view.ts';
import type { FlatRanges } from './id-ranges.ts';
import type { IntegerProduct } from './integer-product.ts';
import { type KernelModules, type PrivateKernels, privateKernels } from './kernels.ts';
import { type Admission, type CodeSpace, encodeQuery, type QueryCode } from './query-code.ts';
import { type Candidates, poison, type RankOf, type Scanner } from './scanner.ts';

const PAGE = 65536;
/** Rows per product. */
const BLOCK_ROWS = 4096;
/** A query's rounding may widen a squared distance by this share of the mean squared spread before a second digit pays. */
const COARSE = 0.04;

/** A worker's own WebAssembly memory, laid out anew for every tile and grown when needed. */
export class PrivateRoom {
  readonly memory = new WebAssembly.Memory({ initial: 1, maximum: 65536 });
  readonly kernels: PrivateKernels;

  constructor(modules: KernelModules) {
    this.kernels = privateKernels(modules, this.memory);
  }

  /** @param sizes bytes of each piece; @returns their addresses, 64-byte aligned, after the module's own page */
  layout(sizes: number[]): number[] {
    let end = PAGE;
    const addresses = sizes.map((bytes) => {
      const start = end;
      end = Math.ceil((end + bytes) / 64) * 64;
      return start;
    });
    const missing = Math.ceil(end / PAGE) - this.memory.buffer.byteLength / PAGE;
    if (missing > 0) this.memory.grow(missing);
    return addresses;
  }
}

export interface ProductScannerOptions {
  view: ChunkView;
  room: PrivateRoom;
  product: IntegerProduct;
  space: CodeSpace;
  /** (q, d) */
  queries: Float32Array;
  capacity: number;
}

/** Encodes queries for one column each, or for two when one leaves too much uncertain. */
function encodeQueries(queries: Float32Array, space: CodeSpace, mostB: number) {
  const q = queries.length / space.dim;
  const mostSum = (2 ** 31 - 1) / 255;
  const encode = (most: number) =>
    Array.from({ length: q }, (_, i) =>
      encodeQuery(queries.subarray(i * space.dim, (i + 1) * space.dim), space, { most, mostSum }),
    );
  const codes = encode(mostB);
  let uncertainty = 0;
  for (const { rounding } of codes) {
    uncertainty += (2 * rounding * space.longestCode * space.meanScale) / q;
  }
  if (uncertainty <= COARSE * space.dim) return { codes, shift: 0 };
  const shift = mostB === 127 ? 8 : 7;
  return { codes: encode(mostB * 2 ** shift), shift };
}

export class ProductScanner implements Scanner {
  readonly codes: readonly QueryCode[];
  readonly candidates: Candidates;
  readonly #view: ChunkView;
  readonly #kernels: PrivateKernels;
  readonly #product: IntegerProduct;
  /** Bits of the low digit, 0 when there is one digit. */
  readonly #shift: number;
  /** q rounded up to 4. */
  readonly #lanes: number;
  readonly #columns: number;
  readonly #at: {
    matrix: number;
    codes: number;
    scales: number;
    biases: number;
    dots: number;
    constants: number;
    counts: number;
    pairs: number;
    values: number;
  };
  readonly #buffer: ArrayBuffer;
  readonly #matrix: Int8Array;

  constructor({ view, room, product, space, queries, capacity }: ProductScannerOptions) {
    const { codes, shift } = encodeQueries(queries, space, product.mostB);
    const { padded, sampleRows } = view.layout;
    this.codes = codes;
    this.#view = view;
    this.#kernels = room.kernels;
    this.#product = product;
    this.#shift = shift;
    this.#lanes = Math.ceil(codes.length / 4) * 4;
    this.#columns = this.#lanes * (shift > 0 ? 2 : 1);
    const [matrix, codeBlock, scales, biases, dots, constants, counts, pairs, values] = room.layout(
      [
        padded * this.#columns,
        BLOCK_ROWS * padded,
        BLOCK_ROWS * 4,
        BLOCK_ROWS * 4,
        BLOCK_ROWS * this.#columns * 4,
        this.#lanes * 16,
        this.#lanes * 4,
        this.#lanes * capacity * 8,
        this.#lanes * sampleRows * 4,
      ],
    ) as [number, number, number, number, number, number, number, number, number];
    this.#at = {
      matrix,
      codes: codeBlock,
      scales,
      biases,
      dots,
      constants,
      counts,
      pairs,
      values,
    };
    this.#buffer = room.memory.buffer as ArrayBuffer;
    this.candidates = {
      pairs: new Uint32Array(this.#buffer, pairs, 2 * codes.length * capacity),
      counts: new Uint32Array(this.#buffer, counts, codes.length).fill(0),
      capacity,
    };
    this.#matrix = new Int8Array(this.#buffer, matrix, padded * this.#columns).fill(0);
    this.#fillMatrix();
    this.#fillConstants();
  }

  admit(query: number, { slope, offset, limit }: Admission): void {
    const floats = this.#floats(this.#at.constants, 3 * this.#lanes);
    floats[query] = slope;
    floats[this.#lanes + query] = offset;
    floats[2 * this.#lanes + query] = limit;
  }

  async quantiles(rank: RankOf): Promise<Float64Array> {
    const { layout } = this.#view;
    const m = layout.sampleRows;
    const out = new Float64Array(this.codes.length);
    for (let done = 0; done < m; ) {
      const count = Math.min(BLOCK_ROWS, m - done);
      await this.#multiply(layout.sampleCodes + done * layout.padded, count);
      this.#copyFloats(layout.sampleScales + done * 4, this.#at.scales, count);
      this.#copyFloats(layout.sampleBiases + done * 4, this.#at.biases, count);
      for (let q = 0; q < this.#lanes; q += 4) {
        this.#kernels.columnBounds(
          this.#at.dots,
          this.#columns,
          count,
          this.#at.scales,
          this.#at.biases,
          this.#lanes,
          this.#shift,
          this.#at.constants,
          q,
          this.#at.values + (q * m + done) * 4,
          m,
        );
      }
      done += count;
    }
    for (let q = 0; q < out.length; q++) {
      const address = this.#at.values + q * m * 4;
      const r = rank(q, this.#floats(address, m));
      out[q] = r < m ? this.#kernels.valueOfRank(address, m, r) : Number.POSITIVE_INFINITY;
    }
    return out;
  }

  async scan(row: number, count: number, excluded: FlatRanges): Promise<void> {
    const { layout, first } = this.#view;
    const at = this.#at;
    for (let done = 0; done < count; ) {
      const rows = Math.min(BLOCK_ROWS, count - done);
      const start = row + done;
      await this.#multiply(layout.codes + start * layout.padded, rows);
      this.#copyFloats(layout.scales + start * 4, at.scales, rows);
      this.#copyFloats(layout.biases + start * 4, at.biases, rows);
      poison(this.#floats(at.biases, rows), first + start, rows, excluded);
      this.#kernels.select(
        at.dots,
        this.#columns,
        rows,
        at.scales,
        at.biases,
        this.#lanes,
        this.#shift,
        at.constants,
        start,
        at.pairs,
        this.candidates.capacity,
        at.counts,
      );
      done += rows;
    }
  }

  #multiply(codes: number, rows: number): Promise<void> {
    const { padded } = this.#view.layout;
    const a = new Uint8Array(this.#buffer, this.#at.codes, rows * padded);
    a.set(this.#view.u8.subarray(codes, codes + rows * padded));
    const out = new Int32Array(this.#buffer, this.#at.dots, rows * this.#columns);
    const columns = this.#columns;
    return this.#product.multiply({ a, b: this.#matrix, out, rows, d: padded, columns });
  }

  #floats(address: number, length: number): Float32Array {
    return new Float32Array(this.#buffer, address, length);
  }

  #copyFloats(from: number, to: number, count: number): void {
    this.#floats(to, count).set(this.#view.f32.subarray(from / 4, from / 4 + count));
  }

  #fillMatrix(): void {
    const columns = this.#columns;
    const half = 2 ** this.#shift / 2;
    for (const [q, { integers }] of this.codes.entries()) {
      for (const [j, p] of integers.entries()) {
        if (this.#shift === 0) this.#matrix[j * columns + q] = p;
        else {
          const high = (p + half) >> this.#shift;
          this.#matrix[j * columns + q] = high;
          this.#matrix[j * columns + this.#lanes + q] = p - (high << this.#shift);
        }
      }
    }
  }

  /** Slopes and corrections; nothing is admitted until told so, and lanes beyond q never. */
  #fillConstants(): void {
    const { constants } = this.#at;
    const lanes = this.#lanes;
    const floats = this.#floats(constants, 3 * lanes).fill(0);
    const corrections = new Int32Array(this.#buffer, constants + 12 * lanes, lanes).fill(0);
    floats.fill(Number.NEGATIVE_INFINITY, 2 * lanes);
    for (const [q, code] of this.codes.entries()) {
      floats[q] = 2 * code.step;
      corrections[q] = code.correction;
    }
  }
}
