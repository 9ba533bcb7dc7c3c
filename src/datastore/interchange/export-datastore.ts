/** A datastore's live entries as arrays that a Python program maps into memory, with a list of their documents beside them. */
import { join } from 'node:path';
import { KnnLMError } from '../../errors.ts';
import { floatsToHalf } from '../../math/half.ts';
import type { IdRange } from '../../math/vectors.ts';
import { Datastore } from '../datastore.ts';
import {
  DataFile,
  freeDiskBytes,
  makeFolder,
  pathKind,
  renameFile,
  replaceFile,
} from '../files.ts';
import { complement, keyRows } from '../key-rows.ts';
import { type ArrayDtype, type ArrayLayout, itemBytes, npyHeader } from './array-files.ts';
import type { DocumentList } from './document-list.ts';

export interface ExportOptions {
  /** Default `npy`. */
  layout?: ArrayLayout;
  onProgress?: (progress: { done: number; total: number }) => void;
  signal?: AbortSignal;
}

export interface ExportResult {
  keys: string;
  values: string;
  /** JSON: documents, model and types; `import` takes it, other programs may. */
  documents: string;
  entries: number;
  dim: number;
  keyDtype: ArrayDtype;
  valueDtype: ArrayDtype;
  bytes: number;
}

/** Entries written in one go. */
const SLICE = 8192;

/**
 * Errors: those of `Datastore.open`; `INVALID_ARGUMENT` for a folder that holds such files already, or values that the layout
 * has no room for; `DISK_FULL`, `IO`, `ABORTED`. Files of an export that did not end are named `.part`.
 */
export async function exportDatastore(
  path: string,
  folder: string,
  options: ExportOptions = {},
): Promise<ExportResult> {
  const store = await Datastore.open(path);
  try {
    return await write(store, folder, options);
  } finally {
    await store.close();
  }
}

async function write(
  store: Datastore,
  folder: string,
  { layout = 'npy', onProgress, signal }: ExportOptions,
): Promise<ExportResult> {
  const { header, keyDim: dim } = store;
  store.keySources(); // refuses when keys were dropped, before anything is written
  const live = complement(store.excludedRanges(), store.entries);
  const entries = store.liveEntries;
  const types = typesFor(layout, header.key.dtype, header.vocabSize);
  const prefix = join(folder, `dstore_${header.model.family}_${entries}_${dim}`);
  const files = {
    keys: `${prefix}_keys.npy`,
    values: `${prefix}_vals.npy`,
    documents: `${prefix}_documents.json`,
  };
  const bytes = entries * (dim * itemBytes(types.keys) + itemBytes(types.values));
  await checkPlace(folder, Object.values(files), bytes);
  const told = (done: number) => onProgress?.({ done, total: entries });
  const heads =
    layout === 'npy'
      ? [npyHeader(types.keys, [entries, dim]), npyHeader(types.values, [entries])]
      : [new Uint8Array(), new Uint8Array()];
  await writeArray(files.keys, heads[0]!, keySlices(store, live, types.keys), { signal, told });
  await writeArray(files.values, heads[1]!, valueSlices(store, live, types.values), { signal });
  await replaceFile(files.documents, `${JSON.stringify(listOf(store, types), null, 1)}\n`);
  return {
    ...files,
    entries,
    dim,
    keyDtype: types.keys,
    valueDtype: types.values,
    bytes: bytes + heads[0]!.length + heads[1]!.length,
  };
}

function typesFor(
  layout: ArrayLayout,
  keys: 'fp16' | 'fp32',
  vocabSize: number,
): { keys: 'fp16' | 'fp32'; values: ArrayDtype } {
  if (layout === 'npy') return { keys, values: 'int32' };
  if (layout === 'transformers') return { keys: 'fp16', values: 'int32' };
  if (keys === 'fp32') return { keys, values: 'int64' };
  if (vocabSize <= 2 ** 15) return { keys, values: 'int16' };
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `fairseq keeps values beside fp16 keys in 16 bits with a sign, too few for ${vocabSize} tokens. Use --layout npy or transformers.`,
  );
}

async function checkPlace(folder: string, files: readonly string[], bytes: number): Promise<void> {
  await makeFolder(folder);
  for (const file of files) {
    if ((await pathKind(file)) === 'missing') continue;
    throw new KnnLMError('INVALID_ARGUMENT', `${file} is there already. Name another folder.`);
  }
  const free = await freeDiskBytes(folder);
  if (bytes <= free) return;
  throw new KnnLMError(
    'DISK_FULL',
    `The arrays take ${(bytes / 1e9).toFixed(2)} GB, but ${(free / 1e9).toFixed(2)} GB are free in ${folder}.`,
  );
}

/** Under its name only when it is whole. */
async function writeArray(
  path: string,
  head: Uint8Array,
  slices: AsyncGenerator<Uint8Array>,
  { signal, told }: { signal?: AbortSignal; told?: (rows: number) => void },
): Promise<void> {
  const part = `${path}.part`;
  const file = await DataFile.open(part, 'w');
  try {
    await file.write(head, 0);
    let at = head.length;
    let slice = 0;
    for await (const bytes of slices) {
      if (signal?.aborted) throw new KnnLMError('ABORTED', 'The export was stopped.');
      await file.write(bytes, at);
      at += bytes.length;
      told?.(++slice * SLICE);
    }
    await file.sync();
  } finally {
    await file.close();
  }
  await renameFile(part, path);
}

async function* keySlices(
  store: Datastore,
  ranges: readonly IdRange[],
  dtype: 'fp16' | 'fp32',
): AsyncGenerator<Uint8Array> {
  const own = store.header.key.dtype;
  const rowBytes = store.keyDim * itemBytes(own);
  let slice = new Uint8Array(SLICE * rowBytes);
  let filled = 0;
  for await (const row of keyRows(store, ranges)) {
    slice.set(row, filled);
    filled += rowBytes;
    if (filled < slice.length) continue;
    yield own === dtype ? slice : toHalf(slice);
    slice = new Uint8Array(SLICE * rowBytes);
    filled = 0;
  }
  if (filled > 0) yield own === dtype ? slice.subarray(0, filled) : toHalf(slice.slice(0, filled));
}

function toHalf(floats: Uint8Array): Uint8Array {
  const from = new Float32Array(floats.buffer, 0, floats.length / 4);
  const halves = new Uint16Array(from.length);
  const bad = floatsToHalf(halves, from);
  if (bad >= 0) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `A key holds ${from[bad]}, too large for fp16. Use --layout npy.`,
    );
  }
  return new Uint8Array(halves.buffer);
}

async function* valueSlices(
  store: Datastore,
  ranges: readonly IdRange[],
  dtype: ArrayDtype,
): AsyncGenerator<Uint8Array> {
  for (const [start, end] of ranges) {
    for (let from = start; from < end; from += SLICE) {
      const values = await store.valueRange(from, Math.min(end, from + SLICE));
      const typed =
        dtype === 'int16'
          ? Int16Array.from(values)
          : dtype === 'int64'
            ? BigInt64Array.from(values, BigInt)
            : Int32Array.from(values);
      yield new Uint8Array(typed.buffer);
    }
  }
}

function listOf(store: Datastore, types: { keys: ArrayDtype; values: ArrayDtype }): DocumentList {
  const { model, fingerprint, key, bos, eos, window, stride, vocabSize } = store.header;
  let start = 0;
  return {
    format: 'knnlm-documents',
    version: 1,
    entries: store.liveEntries,
    dim: store.keyDim,
    keyDtype: types.keys,
    valueDtype: types.values,
    model: { ...model, ...fingerprint, key: key.name, keyTensor: key.tensor, vocabSize, bos, eos },
    window,
    stride,
    documents: Array.from(store.documents, (document) => {
      const first = start;
      start += document.length;
      return { ...document, start: first };
    }),
  };
}
