/** Writes the head of a lists file: the code's space and the table of centroids, coded as keys are. */
import { open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { Breather } from '../../math/breather.ts';
import type { CodeSpace } from '../query-code.ts';
import { listOffsets, type TableLayout, tableLayout, writeHead } from './lists-file.ts';

export interface TableOptions {
  /** (centroids, padded) in z */
  centroids: Float32Array;
  /** (L) */
  centroidOf: Uint32Array;
  /** (L) */
  rows: Uint32Array;
  /** (L) in z */
  spreads: Float32Array;
  space: CodeSpace;
  path: string;
}

export interface Table {
  layout: TableLayout;
  /** Bytes of the whole file. */
  bytes: number;
  /** Adds the lists' checksums, writes the table, makes the file last. @returns CRC-32 of the table */
  finish(checksums: Uint32Array): Promise<number>;
}

export async function writeTable(options: TableOptions): Promise<Table> {
  const { rows, spreads, space, path } = options;
  const layout = tableLayout(space.dim, rows.length);
  const bytes = new Uint8Array(layout.end);
  const floats = (offset: number) => new Float32Array(bytes.buffer, offset);
  const integers = (offset: number) => new Uint32Array(bytes.buffer, offset);
  writeHead(bytes, space.dim, layout);
  floats(layout.mean).set(space.mean);
  floats(layout.scale).set(space.scale);
  floats(layout.spreads).set(spreads);
  integers(layout.rows).set(rows);
  floats(layout.biases).fill(Number.NaN, rows.length, (layout.spreads - layout.biases) / 4);
  await codeCentroids(options, bytes, layout);
  const offsets = listOffsets(rows, layout);
  return {
    layout,
    bytes: offsets.at(-1)!,
    async finish(checksums) {
      integers(layout.checksums).set(checksums);
      const file = await open(path, 'r+');
      try {
        await file.write(bytes, 0, bytes.length, 0);
        await file.sync();
      } finally {
        await file.close();
      }
      return crc32(bytes);
    },
  };
}

/** As `kernels/quantize.ts` codes keys, with the bias of an estimate: ‖a s⊙c‖² + e². */
async function codeCentroids(
  { centroids, centroidOf, space: { dim, scale } }: TableOptions,
  bytes: Uint8Array,
  layout: TableLayout,
): Promise<void> {
  const scales = new Float32Array(bytes.buffer, layout.scales);
  const biases = new Float32Array(bytes.buffer, layout.biases);
  const breather = new Breather();
  for (let l = 0; l < layout.lists; l++) {
    const from = centroidOf[l]! * layout.padded;
    const to = layout.codes + l * layout.padded;
    let largest = 0;
    for (let j = 0; j < dim; j++) {
      largest = Math.max(largest, Math.abs(centroids[from + j]! / scale[j]!));
    }
    const a = Math.fround(Math.max(largest, 1e-30) / 127);
    let bias = 0;
    for (let j = 0; j < layout.padded; j++) {
      const z = j < dim ? centroids[from + j]! : 0;
      const s = j < dim ? scale[j]! : 1;
      const c = Math.max(-127, Math.min(127, Math.round(z / s / a)));
      bytes[to + j] = c + 128;
      bias += (a * s * c) ** 2 + (z - a * s * c) ** 2;
    }
    scales[l] = a;
    biases[l] = bias;
    if (l % 64 === 63) await breather.pause();
  }
}
