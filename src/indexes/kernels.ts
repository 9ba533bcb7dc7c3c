/** Loads the WebAssembly kernels (sources in `kernels/`, compiled by `npm run build:kernels`). */
import { readFile } from 'node:fs/promises';

/** Compiled once by the main thread and sent to the workers: modules cross threads, instances do not. */
export type KernelModules = Record<'quantize' | 'distance' | 'scan' | 'select', WebAssembly.Module>;

export async function compileKernels(): Promise<KernelModules> {
  const compile = async (name: string) =>
    WebAssembly.compile(await readFile(new URL(`./kernels/${name}.wasm`, import.meta.url)));
  const [quantize, distance, scan, select] = await Promise.all(
    ['quantize', 'distance', 'scan', 'select.private'].map(compile),
  );
  return { quantize: quantize!, distance: distance!, scan: scan!, select: select! };
}

/** A kernel takes byte addresses, counts and floats; its file says which. */
type Kernel = (...args: (number | boolean)[]) => number;

/** Kernels that work in a memory shared by all workers. */
export interface SharedKernels {
  accumulate: Kernel;
  quantize: Kernel;
  distances: Kernel;
  scan: Kernel;
  bounds: Kernel;
  valueOfRank: Kernel;
}

/** Kernels that work in a worker's own memory. */
export interface PrivateKernels {
  select: Kernel;
  columnBounds: Kernel;
  valueOfRank: Kernel;
}

/** A module over a memory: its kernels by name. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): object {
  const abort = () => {
    throw new Error('A kernel trapped.');
  };
  return new WebAssembly.Instance(module, { env: { memory, abort } }).exports;
}

export function sharedKernels(modules: KernelModules, memory: WebAssembly.Memory): SharedKernels {
  return {
    ...instantiate(modules.quantize, memory),
    ...instantiate(modules.distance, memory),
    ...instantiate(modules.scan, memory),
  } as SharedKernels;
}

export function privateKernels(modules: KernelModules, memory: WebAssembly.Memory): PrivateKernels {
  return instantiate(modules.select, memory) as PrivateKernels;
}
