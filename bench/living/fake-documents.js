/**
 * Documents with made-up keys, so that thousands of changes to stores can be tried without a model. Keys and values depend
 * on id, version and position alone, and no two documents share a key.
 */
import { createHash } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { join, relative } from 'node:path';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { Datastore, verifyDatastore } from '../../dist/index.js';
import { floatsToHalf } from '../../dist/math/half.js';

export const DIM = 64;
export const SETTINGS = { k: 8, lambda: 0.25, temperature: 1, source: 'default' };
export const HEADER = {
  model: { name: 'fake', family: 'llama', file: 'model.onnx', contextLength: 64 },
  fingerprint: { weights: 'w', tokenizer: 't', dtype: 'fp32', keyTensor: '/x', provider: 'cpu' },
  key: { name: 'ffn-input', tensor: '/x', dim: DIM, dtype: 'fp16' },
  vocabSize: 1000,
  bos: 0,
  eos: 1,
  window: 64,
  stride: 32,
};

const made = new Map();

export function fakeDocument(id, version = 0, length = 40) {
  const name = `${id}@${version}#${length}`;
  const known = made.get(name);
  if (known) return known;
  const hash = createHash('sha256').update(name).digest('hex');
  let state = Number.parseInt(hash.slice(0, 8), 16) || 1;
  const keys = new Float32Array(length * DIM);
  for (let i = 0; i < keys.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    keys[i] = state / 2 ** 29 - 4;
  }
  const halves = new Uint16Array(keys.length);
  floatsToHalf(halves, keys);
  const values = Uint32Array.from({ length }, (_, i) => (state + i * 7) % 1000);
  const record = { id, source: `${id}.txt`, hash, length, metadata: { version } };
  const document = { version, record, keys, halves, values };
  made.set(name, document);
  return document;
}

/** Writes one document, acknowledging in its middle too when asked. */
export async function writeDocument(writer, { record, keys, values }, commitEvery = Infinity) {
  let done = await writer.beginDocument(record);
  while (done < record.length) {
    const end = Math.min(record.length, done + commitEvery);
    await writer.append(keys.subarray(done * DIM, end * DIM), values.subarray(done, end));
    done = end;
    if (done < record.length) await writer.commit();
  }
  await writer.endDocument();
}

export async function writeStore(path, documents, options) {
  const writer = await DatastoreWriter.open(path, HEADER, options);
  for (const document of documents) {
    if (writer.claim(document.record.id, document.record.hash) !== 'done')
      await writeDocument(writer, document);
  }
  await writer.finish(options?.mode === 'add' ? null : SETTINGS);
}

/**
 * What is wrong with a store that should hold these documents.
 * @param allowed per id the documents that may be stored under it; one that may be undefined may be missing
 * @returns {Promise<string[]>}
 */
export async function wrongs(path, allowed) {
  const found = [];
  const store = await Datastore.open(path);
  try {
    for (const [id, choices] of allowed) {
      const stored = store.documents.find(id);
      const document = choices.find((choice) => choice?.record.hash === stored?.hash);
      if (!stored && choices.includes(undefined)) continue;
      if (!stored) found.push(`lost: ${id}`);
      else if (!document) found.push(`wrong version: ${id}`);
      else if (!(await hasEntries(store, stored, document))) found.push(`wrong entries: ${id}`);
    }
    for (const { id } of store.documents) {
      if (!allowed.has(id)) found.push(`back: ${id}`);
    }
  } finally {
    await store.close();
  }
  for (const { file, problem } of (await verifyDatastore(path)).problems)
    found.push(`verify: ${file}: ${problem}`);
  return found;
}

async function hasEntries(store, { start, length }, { halves, values }) {
  if (length !== values.length) return false;
  const stored = await store.valueRange(start, start + length);
  if (stored.some((value, i) => value !== values[i])) return false;
  const bytes = Buffer.alloc(halves.byteLength);
  let done = 0;
  for (const { path, byteOffset, count } of store.keySources(start)) {
    const take = Math.min(bytes.length - done, count * DIM * 2);
    const file = openSync(path, 'r');
    readSync(file, bytes, done, take, byteOffset);
    closeSync(file);
    done += take;
    if (done === bytes.length) break;
  }
  return bytes.equals(Buffer.from(halves.buffer));
}

/** Every file of a folder with a digest of its bytes. */
export function contents(folder) {
  return Object.fromEntries(
    filesOf(folder).map((path) => [
      relative(folder, path),
      createHash('sha256').update(readFileSync(path)).digest('hex'),
    ]),
  );
}

const filesOf = (folder) =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

/** Files in which bytes of a document are found, at whatever place: any key, four values in a row, id or hash. */
export function traces(folder, { record, halves, values }) {
  const needles = [Buffer.from(record.hash), Buffer.from(JSON.stringify(record.id))];
  for (let i = 0; i < record.length; i += Math.ceil(record.length / 50))
    needles.push(Buffer.from(halves.buffer, i * DIM * 2, DIM * 2));
  const narrow = Uint16Array.from(values);
  needles.push(Buffer.from(narrow.buffer, 0, Math.min(64, narrow.byteLength)));
  return filesOf(folder).filter((path) => {
    const bytes = readFileSync(path);
    return needles.some((needle) => bytes.includes(needle));
  });
}
