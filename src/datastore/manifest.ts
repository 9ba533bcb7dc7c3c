/**
 * The manifest: the one small file that says what counts in a datastore. It is replaced atomically, so a reader sees
 * the state before a commit or after it. No times and no machine names: equal builds give equal bytes.
 * `docs/formats.md` describes every field.
 */
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { KnnLMError } from '../errors.ts';
import type { IdRange, KeyDtype } from '../math/vectors.ts';
import { fileSize, pathKind, readWhole, replaceFile } from './files.ts';
import type { SettingsRecord } from './types.ts';

export const FORMAT = 'knnlm-datastore';
/** 2 where keys were dropped, 3 where documents are pairs, 4 where entries are on a server only: programs that do not know of that must not read on. */
export const VERSION = 4;

/** What the model was told of the pairs (`PairOptions`). */
export interface StoredPairs {
  sourcePrefix?: string | undefined;
  sourceLanguage?: string | undefined;
  targetLanguage?: string | undefined;
}

/** What a datastore's keys depend on. Two stores with equal headers hold comparable keys. */
export interface StoreHeader {
  model: { name: string; family: string; file: string; contextLength: number };
  /** `ModelFingerprint` of the model: compared, never interpreted. */
  fingerprint: {
    weights: string;
    tokenizer: string;
    dtype: string;
    keyTensor: string;
    provider: string;
  };
  /** `name` is null when the user named a graph tensor instead. */
  key: { name: string | null; tensor: string; dim: number; dtype: KeyDtype };
  vocabSize: number;
  bos: number;
  eos: number;
  /** Positions per window, and from one window's start to the next. */
  window: number;
  stride: number;
  /** Documents are pairs, and entries those of the targets. Undefined for texts of their own. */
  pairs?: StoredPairs | undefined;
}

/** A run of documents, never changed once the build that wrote it has finished. */
export interface SegmentRecord {
  /** Folder under `segments/`. */
  name: string;
  /** Entries of complete documents. */
  entries: number;
  documents: number;
  /** Bytes of documents.jsonl that count. */
  documentBytes: number;
  /** False when they were dropped, and only their codes are left: of the first segments, none or some. */
  keys?: false;
}

/** A document of which some entries are stored and acknowledged. */
export interface PartialDocument {
  id: string;
  source: string;
  hash: string;
  length: number;
  entriesDone: number;
  metadata?: Record<string, unknown>;
  sourceText?: string;
}

export interface Manifest extends Omit<StoreHeader, 'vocabSize'> {
  format: typeof FORMAT;
  version: 1 | 2 | 3 | 4;
  values: { dtype: 'u16' | 'u32'; vocabSize: number };
  segments: SegmentRecord[];
  /** Entries taken out but still in the files: sorted, disjoint, each a document's. */
  deleted: IdRange[];
  settings: SettingsRecord | null;
  /** Set while the last segment is being written. */
  building: { mode: 'build' | 'add'; document: PartialDocument | null } | null;
  /** File in `index/` that holds the codes of the segments without keys; there when there are any. */
  codes?: string;
  /** Keys and values of all segments are on a server only: the folder has documents. */
  remote?: true;
}

export const manifestPath = (store: string): string => join(store, 'manifest.json');

export function createManifest(header: StoreHeader): Manifest {
  const { model, fingerprint, key, vocabSize, bos, eos, window, stride, pairs } = header;
  return {
    format: FORMAT,
    version: 1,
    model: {
      name: model.name,
      family: model.family,
      file: model.file,
      contextLength: model.contextLength,
    },
    fingerprint: {
      weights: fingerprint.weights,
      tokenizer: fingerprint.tokenizer,
      dtype: fingerprint.dtype,
      keyTensor: fingerprint.keyTensor,
      provider: fingerprint.provider,
    },
    key: { name: key.name, tensor: key.tensor, dim: key.dim, dtype: key.dtype },
    values: { dtype: vocabSize > 65_536 ? 'u32' : 'u16', vocabSize },
    bos,
    eos,
    window,
    stride,
    ...(pairs && { pairs }),
    segments: [{ name: '000000', entries: 0, documents: 0, documentBytes: 0 }],
    deleted: [],
    settings: null,
    building: { mode: 'build', document: null },
  };
}

export function headerOf(manifest: Manifest): StoreHeader {
  const { model, fingerprint, key, values, bos, eos, window, stride, pairs } = manifest;
  const { vocabSize } = values;
  return { model, fingerprint, key, vocabSize, bos, eos, window, stride, ...(pairs && { pairs }) };
}

/** Entries of complete documents, deleted ones included. */
export const entriesOf = (manifest: Manifest): number =>
  manifest.segments.reduce((sum, segment) => sum + segment.entries, 0);

/** Entries, from 0 on, whose keys were dropped. */
export const droppedEntriesOf = ({ segments }: Manifest): number =>
  segments.reduce((sum, { entries, keys }) => sum + (keys === false ? entries : 0), 0);

/** Entries that can be retrieved. */
export const liveEntriesOf = (manifest: Manifest): number =>
  manifest.deleted.reduce((left, [start, end]) => left - (end - start), entriesOf(manifest));

/**
 * Settings of a store from which something was taken out for good. What it had found on its own documents had been learned
 * from that too; so had a gate, when to skip searches, and the evidence of tuning. What a user chose stays: k, λ and T, the
 * effort, and the weight and temperature of the text read so far. Pointers were followed for the gate.
 */
export function withoutTraces(settings: SettingsRecord | null): SettingsRecord | null {
  if (settings?.source === 'self-tuned') return null;
  if (settings?.source !== 'tuned') return settings;
  const { gate, pointers, skip, adaptive, evidence, ...chosen } = settings;
  return chosen;
}

/** Deleted ranges with one more, which must not overlap them. */
export function addRange(ranges: readonly IdRange[], range: IdRange): IdRange[] {
  const at = ranges.findIndex(([start]) => start >= range[1]);
  return at < 0 ? [...ranges, range] : [...ranges.slice(0, at), range, ...ranges.slice(at)];
}

/** The first thing in which two headers' models differ, and so their keys cannot be compared. */
export function modelDifference(
  one: StoreHeader,
  other: StoreHeader,
): { what: string; values: [unknown, unknown] } | undefined {
  const pairs = ({ pairs: told }: StoreHeader): string => (told ? JSON.stringify(told) : 'none');
  const parts: [string, unknown, unknown][] = [
    ['model weights', one.fingerprint.weights, other.fingerprint.weights],
    ['prefix or language of pairs', pairs(one), pairs(other)],
    ['tokenizer', one.fingerprint.tokenizer, other.fingerprint.tokenizer],
    ['model dtype', one.fingerprint.dtype, other.fingerprint.dtype],
    ['key tensor', one.fingerprint.keyTensor, other.fingerprint.keyTensor],
    ['key tensor', one.key.tensor, other.key.tensor],
    ['execution provider', one.fingerprint.provider, other.fingerprint.provider],
    ['key width', one.key.dim, other.key.dim],
    ['vocabulary size', one.vocabSize, other.vocabSize],
    ['BOS token', one.bos, other.bos],
    ['EOS token', one.eos, other.eos],
  ];
  const found = parts.find(([, a, b]) => a !== b);
  return found && { what: found[0], values: [found[1], found[2]] };
}

/**
 * Refuses to mix keys that cannot be compared. A model's name and folder may differ, its fingerprint may not.
 * Errors: `MODEL_MISMATCH`, `INVALID_ARGUMENT`, naming both values.
 */
export function checkSameHeader(manifest: Manifest, header: StoreHeader): void {
  const stored = headerOf(manifest);
  const difference = modelDifference(stored, header);
  if (difference) {
    const { what, values } = difference;
    throw new KnnLMError(
      'MODEL_MISMATCH',
      `The datastore was built with another model: its ${what} is ${values[0]} (${stored.model.name}), here it is ${values[1]} (${header.model.name}). Use the model it was built with, or build a new datastore.`,
    );
  }
  const settings: [string, unknown, unknown][] = [
    ['--window', stored.window, header.window],
    ['--stride', stored.stride, header.stride],
    ['--key-dtype', stored.key.dtype, header.key.dtype],
  ];
  for (const [what, old, now] of settings) {
    if (old === now) continue;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The datastore was begun with ${what} ${old}, here it is ${now}. Give ${what} ${old}, or build into another folder.`,
    );
  }
}

/** Not a path: an address of another machine. */
export const ADDRESS = /^[a-z]+:\/\//i;
/** Manifests are small; anything beyond this is not one. */
const MAX_MANIFEST_BYTES = 64 * 1024 * 1024;

/** Errors: `STORE_NOT_FOUND`, `STORE_VERSION`, `STORE_CORRUPT`. */
export async function readManifest(store: string): Promise<Manifest> {
  const path = manifestPath(store);
  if (ADDRESS.test(store)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${store} is an address, not a folder. A store is searched and evaluated by its address, and changed, checked or copied where its folder lies: run this there.`,
    );
  }
  const kind = await pathKind(path);
  if (kind !== 'file') {
    throw new KnnLMError(
      'STORE_NOT_FOUND',
      `${store} is not a datastore: it has no manifest.json. Build one: knnlm build DOCS... --out ${store}`,
    );
  }
  const bytes = (await fileSize(path)) ?? 0;
  if (bytes > MAX_MANIFEST_BYTES) throw corruptManifest(path, `it is ${bytes} bytes long`);
  return await parseManifest(path, await readWhole(path));
}

/** `,\n  "checksum": "0123abcd"\n}\n`: the last field, so that the checksum is of the bytes before it. */
const CHECKSUM = /,\n {2}"checksum": "([0-9a-f]{8})"\n\}\n$/;

const checksumOf = (bytes: Uint8Array): string => crc32(bytes).toString(16).padStart(8, '0');

/** @param path for messages */
async function parseManifest(path: string, bytes: Buffer): Promise<Manifest> {
  const text = bytes.toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw corruptManifest(path, 'it is not JSON', error);
  }
  const { format, version, checksum, ...rest } = (value ?? {}) as Record<string, unknown>;
  if (format !== FORMAT) throw corruptManifest(path, `format is ${show(format)}, not "${FORMAT}"`);
  if (typeof version === 'number' && version > VERSION) {
    throw new KnnLMError(
      'STORE_VERSION',
      `${path} has format version ${version}; this knnlm reads up to ${VERSION}. Update it: npm install knnlm@latest`,
    );
  }
  // Manifests written before there were checksums have none.
  if (checksum !== undefined) {
    const [end, stored] = CHECKSUM.exec(text) ?? [];
    if (!end || stored !== checksumOf(bytes.subarray(0, bytes.length - end.length)))
      throw corruptManifest(path, 'it does not match its checksum');
  }
  const { manifestSchema } = await import('./manifest-schema.ts');
  const parsed = manifestSchema.safeParse({ format, version, ...rest });
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw corruptManifest(path, `${issue.path.join('.') || 'the whole'}: ${issue.message}`);
  }
  const manifest = parsed.data as Manifest;
  checkConsistent(path, manifest);
  return manifest;
}

function checkConsistent(path: string, manifest: Manifest): void {
  const entries = entriesOf(manifest);
  if (!Number.isSafeInteger(entries)) throw corruptManifest(path, `it counts ${entries} entries`);
  let last = 0;
  for (const [start, end] of manifest.deleted) {
    if (start < last || end <= start || end > entries)
      throw corruptManifest(path, `deleted range [${start}, ${end}) does not fit`);
    last = end;
  }
  const expected = manifest.values.vocabSize > 65_536 ? 'u32' : 'u16';
  if (manifest.values.dtype !== expected)
    throw corruptManifest(path, `values.dtype is ${manifest.values.dtype}, not ${expected}`);
  if (new Set(manifest.segments.map((segment) => segment.name)).size < manifest.segments.length)
    throw corruptManifest(path, 'two segments have one name');
  const firstWhole = manifest.segments.findIndex(({ keys }) => keys !== false);
  const isMixed =
    firstWhole >= 0 && manifest.segments.slice(firstWhole).some(({ keys }) => keys === false);
  if (isMixed) throw corruptManifest(path, 'a segment without keys follows one with keys');
  if ((firstWhole !== 0) !== (manifest.codes !== undefined))
    throw corruptManifest(path, 'its codes and its segments without keys do not go together');
  if (manifest.remote && (manifest.building || manifest.codes !== undefined))
    throw corruptManifest(
      path,
      'entries that are on a server only can be neither coded nor growing',
    );
  const partial = manifest.building?.document;
  if (partial && partial.entriesDone > partial.length)
    throw corruptManifest(
      path,
      `building.document has ${partial.entriesDone} entries of ${partial.length}`,
    );
}

function corruptManifest(path: string, problem: string, cause?: unknown): KnnLMError {
  return new KnnLMError(
    'STORE_CORRUPT',
    `${path} is damaged: ${problem}. Restore it from a backup or build the datastore again.`,
    { cause },
  );
}

const show = (value: unknown): string => JSON.stringify(value)?.slice(0, 60) ?? 'missing';

/** Errors: `DISK_FULL`, `IO`. The manifest before stays whole then. */
export async function writeManifest(store: string, manifest: Manifest): Promise<void> {
  await replaceFile(manifestPath(store), manifestText(manifest));
}

/** The whole file, with its checksum. */
export function manifestText(manifest: Manifest): string {
  const settings = manifest.settings && inOrder(manifest.settings);
  const version = manifest.remote ? 4 : manifest.pairs ? 3 : manifest.codes === undefined ? 1 : 2;
  const fields = JSON.stringify({ ...manifest, version, settings }, null, 2).slice(
    0,
    -'\n}'.length,
  );
  const checksum = checksumOf(Buffer.from(fields));
  return `${fields},\n  "checksum": "${checksum}"\n}\n`;
}

/** One order of fields, whoever made the settings. */
function inOrder({ k, lambda, temperature, source, ...others }: SettingsRecord): SettingsRecord {
  const { gate, cache, pointers, skip, adaptive, effort, evidence } = others;
  return {
    ...{ k, lambda, temperature, source },
    ...{ gate, cache, pointers, skip, adaptive, effort, evidence },
  };
}
