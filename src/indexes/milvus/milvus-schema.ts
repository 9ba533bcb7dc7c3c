/**
 * What a collection of entries looks like. Schema, version 1: `id` (int64, primary) is the datastore's number × 2³¹ + the entry;
 * `document` (varchar) its document's id; `value` (int64) the token that followed; `key` (float16 vector, or float32 where the keys or
 * the server want it).
 */
import { floatsToHalf } from '../../math/half.ts';
import type { Sdk } from './milvus-sdk.ts';

export type VectorDtype = 'fp16' | 'fp32';

export interface EntryRow {
  /** In the collection, not in the datastore. */
  id: number;
  document: string;
  value: number;
  /** Bytes for fp16, numbers for fp32. */
  key: Buffer | Float32Array;
}

export interface CollectionFacts {
  dim: number;
  dtype: VectorDtype;
}

export interface RemoteIndex {
  type: string;
  params: Record<string, unknown>;
  /** Rows that it does not hold yet. */
  pending: number;
}

/** Longest document id that is kept whole; of a longer one the beginning is. Bytes, as Milvus counts. */
const DOCUMENT_BYTES = 512;
/** Largest half. */
const MOST_HALF = 65504;

const DTYPES: Partial<Record<string, VectorDtype>> = {
  Float16Vector: 'fp16',
  FloatVector: 'fp32',
};

/** What the client is asked to make. */
export const newSchema = ({ DataType }: typeof Sdk, { dim, dtype }: CollectionFacts) => ({
  description: JSON.stringify({ format: 'knnlm-entries', version: 1, dim, dtype }),
  fields: [
    { name: 'id', data_type: DataType.Int64, is_primary_key: true, autoID: false },
    { name: 'document', data_type: DataType.VarChar, max_length: DOCUMENT_BYTES },
    { name: 'value', data_type: DataType.Int64 },
    {
      name: 'key',
      data_type: dtype === 'fp16' ? DataType.Float16Vector : DataType.FloatVector,
      dim,
    },
  ],
});

/** Undefined for a collection of something else. */
export function factsOf({ fields }: Sdk.CollectionSchema): CollectionFacts | undefined {
  const field = (name: string) => fields.find((one) => one.name === name);
  const key = field('key');
  const dtype = DTYPES[key?.data_type ?? ''];
  const fits =
    field('id')?.data_type === 'Int64' &&
    field('id')?.is_primary_key &&
    field('value')?.data_type === 'Int64' &&
    field('document')?.data_type === 'VarChar';
  return fits && dtype ? { dim: Number(key?.dim), dtype } : undefined;
}

/** A query as Milvus wants it for float16 keys: of the same type. */
export function halves(query: Float32Array): Buffer {
  const out = new Uint16Array(query.length);
  if (floatsToHalf(out, query) >= 0)
    floatsToHalf(
      out,
      query.map((x) => Math.max(-MOST_HALF, Math.min(MOST_HALF, x))),
    );
  return Buffer.from(out.buffer);
}

/** The beginning that fits, cut between characters. */
export function startOf(document: string): string {
  if (Buffer.byteLength(document) <= DOCUMENT_BYTES) return document;
  let bytes = 0;
  let end = 0;
  for (const character of document) {
    bytes += Buffer.byteLength(character);
    if (bytes > DOCUMENT_BYTES) break;
    end += character.length;
  }
  return document.slice(0, end);
}

/** An index as the client describes it: its parameters are texts, or JSON in one of them. */
export function remoteIndexOf({
  params,
  pending_index_rows,
}: Pick<Sdk.IndexDescription, 'params' | 'pending_index_rows'>): RemoteIndex {
  const values = Object.fromEntries(params.map(({ key, value }) => [key, String(value)]));
  return {
    type: values.index_type ?? '',
    params: { ...values, ...parsed(values.params) },
    pending: Number(pending_index_rows ?? 0),
  };
}

function parsed(text: string | undefined): Record<string, unknown> {
  try {
    return JSON.parse(text ?? '{}') as Record<string, unknown>;
  } catch {
    return {};
  }
}
