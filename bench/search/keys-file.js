// Opens the key and query files of the search benchmarks: NumPy .npy (2-d, little-endian float16 or float32), or raw rows
// named NAME.f16 or NAME.f32 with --dim.
import { closeSync, openSync, readSync, statSync } from 'node:fs';

/**
 * @param {string} path
 * @param {number} dim width of raw rows; .npy files say it themselves
 * @returns {{ path: string, dtype: 'fp16' | 'fp32', count: number, byteOffset: number, dim: number }}
 */
export function describeFile(path, dim) {
  if (!path.endsWith('.npy')) {
    const dtype = path.endsWith('.f16') ? 'fp16' : 'fp32';
    const count = statSync(path).size / (dim * (dtype === 'fp16' ? 2 : 4));
    return { path, dtype, count, byteOffset: 0, dim };
  }
  const head = Buffer.alloc(1024);
  const file = openSync(path, 'r');
  readSync(file, head, 0, head.length, 0);
  closeSync(file);
  const [start, length] = head[6] === 1 ? [10, head.readUInt16LE(8)] : [12, head.readUInt32LE(8)];
  const text = head.toString('latin1', start, start + length);
  const type = /'descr': '<f([24])'/.exec(text);
  const shape = /'shape': \((\d+), (\d+)\)/.exec(text);
  if (!type || !shape || text.includes("'fortran_order': True")) {
    throw new Error(`${path} must hold a 2-d row-major array of <f2 or <f4, not ${text}`);
  }
  return {
    path,
    dtype: type[1] === '2' ? 'fp16' : 'fp32',
    count: Number(shape[1]),
    byteOffset: start + length,
    dim: Number(shape[2]),
  };
}

/**
 * @param {ReturnType<typeof describeFile>} source fp32
 * @param {number} most rows
 */
export function readQueries({ path, count, byteOffset, dim, dtype }, most) {
  if (dtype !== 'fp32') throw new Error(`Queries must be float32, but ${path} is ${dtype}.`);
  const queries = new Float32Array(Math.min(count, most) * dim);
  const file = openSync(path, 'r');
  readSync(file, new Uint8Array(queries.buffer), 0, queries.byteLength, byteOffset);
  closeSync(file);
  return queries;
}

/** @param {number[]} values */
export function median(values) {
  return [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}
