/**
 * A datastore from arrays of keys and values that another program made with the same model (`array-files.ts`).
 *
 * The method needs nothing else; documents only give entries their names. Without a list of them the rows are one document,
 * and text shown beside an entry runs on over borders that nobody told of.
 */

import { createHash } from 'node:crypto';
import { basename } from 'node:path';
import { DatastoreWriter } from '../datastore/datastore-writer.ts';
import { DataFile } from '../datastore/files.ts';
import {
  type ArrayFile,
  itemBytes,
  openArray,
  readValues,
} from '../datastore/interchange/array-files.ts';
import type { DocumentList } from '../datastore/interchange/document-list.ts';
import { KnnLMError } from '../errors.ts';
import { halfToFloats } from '../math/half.ts';
import type { LanguageModel } from '../model/language-model.ts';
import type { BuildRequest } from './build-types.ts';
import { type Conclusion, concludeBuild } from './conclude-build.ts';
import { DEFAULT_SETTINGS } from './interpolate.ts';
import { sourcesOf, sourceTokens } from './read-tokens.ts';
import { headerFor } from './store-header.ts';
import { defaultWindowPlan } from './windows.ts';

/** Entries read and written in one go. */
const SLICE = 8192;
/** Documents whose first keys are compared with the model's, and how many keys of each. */
const COMPARED = 3;
const COMPARED_KEYS = 64;
/** Mean relative difference of keys of one model, whatever ran it and in whatever precision, is far below this. */
const SAME_KEYS = 0.1;

export interface ImportArrays {
  keys: string;
  values: string;
  /** Path of the list of documents; without it there is one document. */
  documents?: string;
}

export interface ImportRequest
  extends Pick<
    BuildRequest,
    'out' | 'window' | 'stride' | 'index' | 'selfTune' | 'onProgress' | 'onWarning' | 'signal'
  > {}

export interface ImportResult {
  documents: number;
  entries: number;
  seconds: number;
  /** Mean relative difference of stored keys and the model's own of the same text; null where there were no documents to read. */
  keyDifference: number | null;
  index?: Conclusion['index'];
}

/**
 * Errors: `INVALID_ARGUMENT` for arrays that do not fit the model or each other, `MODEL_MISMATCH` when the model gives other
 * keys for the listed documents, `STORE_EXISTS`, `DISK_FULL`, `IO`, `ABORTED`.
 */
export async function importArrays(
  arrays: ImportArrays,
  model: LanguageModel,
  request: ImportRequest,
): Promise<ImportResult> {
  const started = performance.now();
  const dim = model.info.keyDim;
  const keys = await openArray(arrays.keys, { columns: dim, dtypes: ['fp16', 'fp32'] });
  const values = await openArray(arrays.values, {
    columns: 1,
    dtypes: ['int32', 'int16', 'int64'],
    rows: keys.rows,
  });
  checkFit(keys, values, dim);
  const list = await documentsOf(arrays, keys.rows);
  checkPairs(list, model, arrays);
  const plan = defaultWindowPlan(model.info.contextLength, {
    window: request.window ?? list?.window,
    stride: request.stride ?? list?.stride,
  });
  const files = [
    await DataFile.open(keys.path, 'r'),
    await DataFile.open(values.path, 'r'),
  ] as const;
  try {
    const input: Input = { keys, values, files, model };
    // All values are read before anything is written.
    const hash = await hashValues(input);
    const documents = list?.documents ?? [wholeDocument(input, hash)];
    const keyDifference = list ? await compareKeys(input, list) : null;
    const keyDtype = keys.dtype as 'fp16' | 'fp32';
    const writer = await DatastoreWriter.open(request.out, headerFor(model, { ...plan, keyDtype }));
    const conclusion = await writeAll(writer, documents, input, request);
    return {
      documents: documents.length,
      entries: keys.rows,
      seconds: (performance.now() - started) / 1000,
      keyDifference,
      ...(conclusion.index && { index: conclusion.index }),
    };
  } finally {
    for (const file of files) await file.close();
  }
}

interface Input {
  keys: ArrayFile;
  values: ArrayFile;
  files: readonly [DataFile, DataFile];
  model: LanguageModel;
}

type ListedDocument = DocumentList['documents'][number];

/** A model of pairs needs the sources, a causal one has no use for them. */
function checkPairs(
  list: DocumentList | undefined,
  { info }: LanguageModel,
  { keys }: ImportArrays,
): void {
  const first = list?.documents.find(
    ({ sourceText }) => (sourceText !== undefined) !== (info.pairs !== undefined),
  );
  if (!first && (list || !info.pairs)) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    info.pairs
      ? `${info.name} reads pairs, but ${first ? `the document ${JSON.stringify(first.id)} has` : `the documents of ${keys} are not told, nor`} no source. Name a list of documents with "sourceText".`
      : `${info.name} reads texts, but the document ${JSON.stringify(first!.id)} is a pair. Name the encoder-decoder that made the keys.`,
  );
}

function checkFit(keys: ArrayFile, values: ArrayFile, dim: number): void {
  const refuse = (message: string) => new KnnLMError('INVALID_ARGUMENT', message);
  if (keys.dtype !== 'fp16' && keys.dtype !== 'fp32')
    throw refuse(`${keys.path} holds ${keys.dtype}; keys are fp16 or fp32.`);
  if (values.dtype === 'fp16' || values.dtype === 'fp32')
    throw refuse(`${values.path} holds ${values.dtype}; values are whole numbers, token ids.`);
  if (keys.columns !== dim)
    throw refuse(
      `${keys.path} holds keys of width ${keys.columns}, but the model's have ${dim}. Name the model that they are of.`,
    );
  if (values.rows * values.columns !== keys.rows)
    throw refuse(
      `${keys.path} has ${keys.rows} rows, ${values.path} ${values.rows * values.columns}.`,
    );
  if (keys.rows === 0) throw new KnnLMError('NO_DOCUMENTS', `${keys.path} holds no entry.`);
}

async function documentsOf(
  { documents }: ImportArrays,
  rows: number,
): Promise<DocumentList | undefined> {
  if (documents === undefined) return undefined;
  // Loads zod.
  const { readDocumentList } = await import('../datastore/interchange/document-list.ts');
  const list = await readDocumentList(documents);
  if (list.entries === rows) return list;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${documents} tells of ${list.entries} entries, but there are ${rows}. Name the list that was written with them.`,
  );
}

/** @returns sha256 of the values as u32. Errors: `INVALID_ARGUMENT` for one that the model does not have. */
async function hashValues({ values, files, model }: Input): Promise<string> {
  const hash = createHash('sha256');
  for (let start = 0; start < values.rows; start += SLICE) {
    const range = [start, Math.min(values.rows, start + SLICE)] as const;
    hash.update(await readValues(files[1], values, range, model.info.vocabSize));
  }
  return hash.digest('hex');
}

/** All rows as one document, known by its values. */
function wholeDocument({ values }: Input, hash: string): ListedDocument {
  const id = basename(values.path).replace(/_?vals?\.npy$/, '') || basename(values.path);
  return { id, source: values.path, hash, start: 0, length: values.rows };
}

async function readKeyRows(
  { keys, files }: Input,
  start: number,
  end: number,
): Promise<Float32Array | Uint16Array> {
  const { columns, dtype, byteOffset } = keys;
  const out =
    dtype === 'fp16'
      ? new Uint16Array((end - start) * columns)
      : new Float32Array((end - start) * columns);
  await files[0].read(new Uint8Array(out.buffer), byteOffset + start * columns * itemBytes(dtype));
  const finite = (x: number) => (dtype === 'fp16' ? (x & 0x7c00) !== 0x7c00 : Number.isFinite(x));
  const bad = out.findIndex((x: number) => !finite(x));
  if (bad < 0) return out;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${keys.path} holds a number that is not finite in row ${start + Math.floor(bad / columns)}. Make the keys again.`,
  );
}

/** Reads the beginnings of some documents again with the model. Errors: `MODEL_MISMATCH`. */
async function compareKeys(input: Input, { documents, window }: DocumentList): Promise<number> {
  const { model, keys, values, files } = input;
  const step = Math.max(1, Math.floor(documents.length / COMPARED));
  let sum = 0;
  let rows = 0;
  for (let i = 0; i < documents.length; i += step) {
    const document = documents[i]!;
    const { start, length } = document;
    const count = Math.min(length, COMPARED_KEYS, window);
    const targets = await readValues(
      files[1],
      values,
      [start, start + count],
      model.info.vocabSize,
    );
    const inputs = Int32Array.from([model.tokenizer.bos, ...targets.subarray(0, count - 1)]);
    const sourceIds = await sourceTokens(document, model);
    const [own] = await model.keys([inputs], { sources: sourcesOf([{ sourceIds }]) });
    const stored = floatsOf(await readKeyRows(input, start, start + count));
    for (let row = 0; row < count; row++) {
      sum += difference(own!, stored, row * keys.columns, keys.columns);
      rows++;
    }
  }
  const mean = sum / rows;
  if (mean < SAME_KEYS) return mean;
  throw new KnnLMError(
    'MODEL_MISMATCH',
    `${keys.path} holds other keys than ${model.info.name} gives for the same documents (they differ by ${(100 * mean).toPrecision(2)}% on average). Name the model and the key they are of.`,
  );
}

function floatsOf(keys: Float32Array | Uint16Array): Float32Array {
  if (keys instanceof Float32Array) return keys;
  const floats = new Float32Array(keys.length);
  halfToFloats(floats, keys);
  return floats;
}

/** ‖a − b‖ / ‖a‖ of one row. */
function difference(a: Float32Array, b: Float32Array, from: number, d: number): number {
  let norm = 0;
  let squares = 0;
  for (let i = from; i < from + d; i++) {
    norm += a[i]! ** 2;
    squares += (a[i]! - b[i]!) ** 2;
  }
  return Math.sqrt(squares / (norm || 1));
}

async function writeAll(
  writer: DatastoreWriter,
  documents: readonly ListedDocument[],
  input: Input,
  request: ImportRequest,
): Promise<Conclusion> {
  const { keys, values, files, model } = input;
  const { signal, onProgress } = request;
  try {
    for (const { start, ...document } of documents) {
      if (writer.status(document.id, document.hash) === 'done') continue;
      const done = await writer.beginDocument(document);
      for (let from = start + done; from < start + document.length; from += SLICE) {
        const to = Math.min(start + document.length, from + SLICE);
        await writer.append(
          await readKeyRows(input, from, to),
          await readValues(files[1], values, [from, to], model.info.vocabSize),
        );
        onProgress?.({ phase: 'importing', done: to, total: keys.rows, unit: 'entries' });
        if (signal?.aborted) throw new KnnLMError('ABORTED', 'The import was stopped.');
      }
      await writer.endDocument();
    }
    await writer.commit();
    const conclusion = await concludeBuild(request.out, model, {
      ...request,
      selfTunes: request.selfTune ?? true,
    });
    await writer.finish(conclusion.settings ?? { ...DEFAULT_SETTINGS, source: 'default' });
    return conclusion;
  } catch (error) {
    await writer.abort({ commit: true });
    throw error;
  }
}
