/** How evenly an inverted file deals out its entries, read from its table without opening the index. */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { IvfHeader } from './ivf-header.ts';
import { tableLayout } from './lists-file.ts';

/** Entries of a list. */
export interface ListSizes {
  least: number;
  median: number;
  most: number;
}

/** Undefined where the file cannot be read or does not add up: finding out why is `verifyIvf`'s. */
export async function listSizes(folder: string, header: IvfHeader): Promise<ListSizes | undefined> {
  const rows = await readRows(join(folder, header.file.name), header).catch(() => undefined);
  if (!rows || rows.reduce((sum, count) => sum + count, 0) !== header.entries) return undefined;
  rows.sort();
  return { least: rows[0]!, median: rows[rows.length >> 1]!, most: rows.at(-1)! };
}

/** (L) */
async function readRows(path: string, { dim, lists, codec }: IvfHeader): Promise<Uint32Array> {
  const rows = new Uint32Array(lists);
  const file = await open(path, 'r');
  try {
    const { rows: position } = tableLayout(dim, lists, codec);
    await file.read(new Uint8Array(rows.buffer), { position });
    return rows;
  } finally {
    await file.close();
  }
}
