/**
 * Where things lie in a chunk: one shared WebAssembly memory with the codes of a run of keys, all that workers need to
 * scan them, and, when they fit, the keys themselves. wasm32 ends at 4 GiB, so a large index has several chunks.
 */
import type { KeyDtype } from '../math/vectors.ts';

/** Most bytes of a chunk. Below 4 GiB, since a 32-bit address must not wrap. */
const MAX_CHUNK_BYTES = 3 * 2 ** 30;
const PAGE = 65536;
/** Keys sampled per chunk to guess how far a query's k-th neighbor is. */
const SAMPLE_ROWS = 4096;
/** Most rows of a list in a worker's scratch room: a block, the sample, candidates to rank. */
export const LISTED_ROWS = 8192;
/** Bytes of key rows a worker reads at once. */
const READ_BYTES = 1 << 20;

export interface KeyShape {
  /** d */
  dim: number;
  dtype: KeyDtype;
  /** Whether the keys themselves are in the chunk. */
  resident: boolean;
  threads: number;
}

/** Byte addresses of a worker's own room in a chunk. */
export interface Scratch {
  /** (padded) f32, a decoded key. */
  row: number;
  /** (padded) i16 */
  query16: number;
  /** (dim) f64 */
  query64: number;
  /** 3 f64, see `quantize`. */
  bounds: number;
  /** (dim) f64 each. */
  sums: number;
  squares: number;
  /** (LISTED_ROWS + 4) each. */
  biases: number;
  ids: number;
  values: number;
  /** (blockRows + 4) pairs */
  found: number;
  /** (readRows, dim) keys read from files. */
  read: number;
}

export interface ChunkLayout {
  dim: number;
  /** d rounded up to 16: the width of a code. */
  padded: number;
  isHalf: boolean;
  rowBytes: number;
  rows: number;
  /** Rows a worker scans between two looks at the outside world; their codes fit a core's second-level cache. */
  blockRows: number;
  readRows: number;
  /** (padded) f32 each. */
  mean: number;
  scale: number;
  inverse: number;
  scratch: Scratch[];
  sampleRows: number;
  sampleCodes: number;
  sampleScales: number;
  sampleBiases: number;
  /** (rows) f32 */
  scales: number;
  /** (rows) f32 */
  biases: number;
  /** (rows, padded) u8 */
  codes: number;
  /** (rows, dim), or 0 when keys stay in their files. */
  keys: number;
  bytes: number;
}

export interface Chunk {
  memory: WebAssembly.Memory;
  layout: ChunkLayout;
  /** Entry id of row 0. */
  first: number;
  /** (sampleRows) row numbers of the sample, ascending. */
  sample: Uint32Array;
}

export const paddedWidth = (dim: number): number => Math.ceil(dim / 16) * 16;
export const bytesPerKey = (dtype: KeyDtype, dim: number): number =>
  dim * (dtype === 'fp16' ? 2 : 4);

/** Bytes of memory per key. */
export function bytesPerRow({ dim, dtype, resident }: KeyShape): number {
  return paddedWidth(dim) + 8 + (resident ? bytesPerKey(dtype, dim) : 0);
}

/** How many rows each chunk of an index of `n` keys gets. */
export function chunkRows(n: number, shape: KeyShape): number[] {
  const overhead = chunkLayout(0, shape).bytes + SAMPLE_ROWS * (paddedWidth(shape.dim) + 8);
  const most = Math.floor((MAX_CHUNK_BYTES - overhead) / bytesPerRow(shape));
  const chunks = Math.ceil(n / most);
  return Array.from(
    { length: chunks },
    (_, c) => Math.floor((n * (c + 1)) / chunks) - Math.floor((n * c) / chunks),
  );
}

export function chunkLayout(rows: number, shape: KeyShape): ChunkLayout {
  const { dim, dtype, resident, threads } = shape;
  const padded = paddedWidth(dim);
  const rowBytes = bytesPerKey(dtype, dim);
  const blockRows = Math.min(4096, Math.max(64, 4 * Math.floor(2 ** 17 / padded)));
  const readRows = Math.max(1, Math.floor(READ_BYTES / rowBytes));
  const sampleRows = rows < 1024 ? 0 : Math.min(SAMPLE_ROWS, rows >> 2);
  const listed = LISTED_ROWS + 4;
  let end = PAGE; // the first page is left to the modules' static data
  const take = (bytes: number): number => {
    const start = end;
    end = Math.ceil((end + bytes) / 64) * 64;
    return start;
  };
  const layout = {
    dim,
    padded,
    isHalf: dtype === 'fp16',
    rowBytes,
    rows,
    blockRows,
    readRows,
    mean: take(padded * 4),
    scale: take(padded * 4),
    inverse: take(padded * 4),
    scratch: Array.from({ length: threads }, () => ({
      row: take(padded * 4),
      query16: take(padded * 2),
      query64: take(padded * 8),
      bounds: take(24),
      sums: take(dim * 8),
      squares: take(dim * 8),
      biases: take(listed * 4),
      ids: take(listed * 4),
      values: take(listed * 4),
      found: take((blockRows + 4) * 8),
      read: take(readRows * rowBytes + 16),
    })),
    sampleRows,
    sampleCodes: take((sampleRows + 4) * padded),
    sampleScales: take((sampleRows + 4) * 4),
    sampleBiases: take((sampleRows + 4) * 4),
    scales: take((rows + 4) * 4),
    biases: take((rows + 4) * 4),
    codes: take((rows + 4) * padded),
    keys: resident ? take(rows * rowBytes + 16) : 0,
  };
  return { ...layout, bytes: Math.ceil(end / PAGE) * PAGE };
}

export function allocateChunk(first: number, layout: ChunkLayout): Chunk {
  const pages = layout.bytes / PAGE;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  return { memory, layout, first, sample: sampleOf(layout) };
}

/** One row per stratum, at a place that follows no period of the data (multiplicative hashing, Knuth 6.4). */
function sampleOf({ rows, sampleRows }: ChunkLayout): Uint32Array {
  const stride = rows / Math.max(sampleRows, 1);
  return Uint32Array.from({ length: sampleRows }, (_, i) => {
    const jitter = (Math.imul(i + 1, 2654435761) >>> 0) / 2 ** 32;
    return Math.floor((i + jitter) * stride);
  });
}
