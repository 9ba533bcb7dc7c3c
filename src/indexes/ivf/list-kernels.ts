/** The kernels of `kernels/lists.private.ts`, over a worker's own memory. */
import { readFile } from 'node:fs/promises';

/** A kernel takes byte addresses, counts and floats; its source says which. */
type Kernel = (...args: (number | boolean)[]) => number;

export type ListKernels = Record<
  | 'accumulate'
  | 'addProducts'
  | 'addToSums'
  | 'collect'
  | 'collectProductBlocks'
  | 'collectProductCodes'
  | 'collectProducts'
  | 'collectRows'
  | 'decodeGaps'
  | 'distances'
  | 'encodeProducts'
  | 'gatherColumns'
  | 'innerProduct'
  | 'keepNearest'
  | 'narrowTables'
  | 'nearest'
  | 'productTables'
  | 'quantize'
  | 'residuals'
  | 'rotate'
  | 'rotated'
  | 'sketched'
  | 'sketchRows'
  | 'sketchTables'
  | 'sortPairs'
  | 'sumTables',
  Kernel
>;

const PAGE = 65536;
/** Pages that 32 bits can address. */
const MOST_PAGES = 65536;
export const MOST_MEMORY_BYTES = (MOST_PAGES - 1) * PAGE;

export async function compileListKernels(): Promise<WebAssembly.Module> {
  const url = new URL('../kernels/lists.private.wasm', import.meta.url);
  return WebAssembly.compile(await readFile(url));
}

/** Hands out addresses one after the other, 64-byte aligned; the first page is left to the module. */
export class Layout {
  end = PAGE;

  take(bytes: number): number {
    const start = this.end;
    this.end = Math.ceil((start + bytes) / 64) * 64;
    return start;
  }
}

/**
 * A WebAssembly memory of fixed size with its kernels. Pages never touched cost nothing, so sizes may be generous.
 * It is not shared: onnxruntime refuses shared buffers.
 */
export class KernelMemory {
  readonly kernels: ListKernels;
  readonly buffer: ArrayBuffer;
  readonly u8: Uint8Array;
  readonly i8: Int8Array;
  readonly i16: Int16Array;
  readonly i32: Int32Array;
  readonly u32: Uint32Array;
  readonly f32: Float32Array;
  readonly f64: Float64Array;

  constructor(module: WebAssembly.Module, bytes: number) {
    const initial = Math.ceil(bytes / PAGE);
    const memory = new WebAssembly.Memory({ initial, maximum: MOST_PAGES });
    const abort = () => {
      throw new Error('A kernel trapped.');
    };
    this.kernels = new WebAssembly.Instance(module, { env: { memory, abort } })
      .exports as ListKernels;
    this.buffer = memory.buffer as ArrayBuffer;
    this.u8 = new Uint8Array(this.buffer);
    this.i8 = new Int8Array(this.buffer);
    this.i16 = new Int16Array(this.buffer);
    this.i32 = new Int32Array(this.buffer);
    this.u32 = new Uint32Array(this.buffer);
    this.f32 = new Float32Array(this.buffer);
    this.f64 = new Float64Array(this.buffer);
  }
}
