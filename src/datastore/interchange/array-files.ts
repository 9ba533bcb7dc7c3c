/**
 * Keys and values as arrays on disk, as Python's kNN-LM programs keep them.
 *
 *   npy            NumPy's format: a header with type and shape, then the rows
 *   transformers   knn-transformers' memmaps: no header; dstore_{model_type}_{n}_{d}_keys.npy fp16, …_vals.npy int32
 *   fairseq        urvashik/knnlm's memmaps: no header; PREFIX_keys.npy, PREFIX_vals.npy; fp16 with int16, or fp32 with int64
 *
 * Both memmap layouts end in .npy without being it, and leave their size to the reader's memory; here it stands in the name.
 */
import { KnnLMError } from '../../errors.ts';
import { DataFile, fileSize } from '../files.ts';

export const ARRAY_LAYOUTS = ['npy', 'transformers', 'fairseq'] as const;
export type ArrayLayout = (typeof ARRAY_LAYOUTS)[number];

export type ArrayDtype = 'fp16' | 'fp32' | 'int16' | 'uint16' | 'int32' | 'int64';

/** NumPy's names (little-endian). */
const DESCR: Record<ArrayDtype, string> = {
  fp16: '<f2',
  fp32: '<f4',
  int16: '<i2',
  uint16: '<u2',
  int32: '<i4',
  int64: '<i8',
};

export const itemBytes = (dtype: ArrayDtype): number => Number(DESCR[dtype].at(-1));

/** Where the rows of an array lie in its file. */
export interface ArrayFile {
  path: string;
  dtype: ArrayDtype;
  /** n */
  rows: number;
  /** d; 1 for values */
  columns: number;
  byteOffset: number;
}

const MAGIC = '\x93NUMPY';

/** Version 1.0, padded so that the rows begin at a multiple of 64 bytes (numpy.lib.format). */
export function npyHeader(dtype: ArrayDtype, shape: readonly number[]): Uint8Array {
  const tuple = `(${shape.join(', ')}${shape.length === 1 ? ',' : ''})`;
  const text = `{'descr': '${DESCR[dtype]}', 'fortran_order': False, 'shape': ${tuple}, }`;
  const length = Math.ceil((10 + text.length + 1) / 64) * 64 - 10;
  const header = Buffer.alloc(10 + length, ' ', 'latin1');
  header.write(MAGIC, 0, 'latin1');
  header[6] = 1;
  header[7] = 0;
  header.writeUInt16LE(length, 8);
  header.write(text, 10, 'latin1');
  header[header.length - 1] = 0x0a;
  return header;
}

/** What a reader must say of files without a header. */
export interface RawShape {
  columns: number;
  /** The types there may be, told apart by the file's size where `rows` is known. */
  dtypes: readonly ArrayDtype[];
  rows?: number;
}

/** Errors: `IO`; `INVALID_ARGUMENT` for another shape, type or size than can be read. */
export async function openArray(path: string, raw: RawShape): Promise<ArrayFile> {
  const size = await fileSize(path);
  if (size === undefined) throw refusal(path, 'does not exist');
  const head = Buffer.alloc(Math.min(size, 4096));
  const file = await DataFile.open(path, 'r');
  try {
    await file.read(head, 0);
  } finally {
    await file.close();
  }
  if (head.toString('latin1', 0, 6) === MAGIC) return parseNpy(path, head, size);
  for (const dtype of raw.dtypes) {
    const rows = size / (raw.columns * itemBytes(dtype));
    if (Number.isInteger(rows) && rows === (raw.rows ?? rows)) {
      return { path, dtype, rows, columns: raw.columns, byteOffset: 0 };
    }
  }
  const wanted = raw.rows === undefined ? 'rows' : `${raw.rows} rows`;
  throw refusal(
    path,
    `has ${size} bytes, which are no ${wanted} of ${raw.columns} numbers (${raw.dtypes.join(' or ')})`,
  );
}

function parseNpy(path: string, head: Buffer, size: number): ArrayFile {
  const [start, length] = head[6] === 1 ? [10, head.readUInt16LE(8)] : [12, head.readUInt32LE(8)];
  const text = head.toString('latin1', start, start + length);
  const descr = /'descr':\s*'([^']+)'/.exec(text)?.[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(text)?.[1]?.match(/\d+/g)?.map(Number);
  const dtype = (Object.keys(DESCR) as ArrayDtype[]).find((name) => DESCR[name] === descr);
  if (
    !dtype ||
    !shape ||
    shape.length < 1 ||
    shape.length > 2 ||
    /'fortran_order':\s*True/.test(text)
  ) {
    throw refusal(
      path,
      `is an array of ${descr ?? 'an unknown type'} and shape (${shape?.join(', ') ?? '?'}); rows of ${Object.values(DESCR).join(', ')} can be read`,
    );
  }
  const [rows, columns = 1] = shape as [number, number?];
  const byteOffset = start + length;
  if (size !== byteOffset + rows * columns * itemBytes(dtype)) {
    throw refusal(
      path,
      `has ${size} bytes, but its header tells of ${rows} × ${columns} ${dtype}: ${byteOffset + rows * columns * itemBytes(dtype)} bytes. Copy it again`,
    );
  }
  return { path, dtype, rows, columns, byteOffset };
}

const refusal = (path: string, what: string): KnnLMError =>
  new KnnLMError('INVALID_ARGUMENT', `${path} ${what}.`);

/** Token ids of rows [start, end). Errors: `INVALID_ARGUMENT` for one that the vocabulary does not have. */
export async function readValues(
  file: DataFile,
  array: ArrayFile,
  [start, end]: readonly [number, number],
  vocabSize: number,
): Promise<Uint32Array> {
  const bytes = itemBytes(array.dtype);
  const buffer = Buffer.alloc((end - start) * bytes);
  await file.read(buffer, array.byteOffset + start * bytes);
  const out = new Uint32Array(end - start);
  for (let i = 0; i < out.length; i++) {
    const value = valueAt(buffer, i, array.dtype);
    if (!(value >= 0 && value < vocabSize)) {
      throw refusal(
        array.path,
        `holds the token ${value} in row ${start + i}, but the model has ${vocabSize}. Name the model that these keys are of`,
      );
    }
    out[i] = value;
  }
  return out;
}

function valueAt(buffer: Buffer, i: number, dtype: ArrayDtype): number {
  switch (dtype) {
    case 'int16':
      return buffer.readInt16LE(2 * i);
    case 'uint16':
      return buffer.readUInt16LE(2 * i);
    case 'int32':
      return buffer.readInt32LE(4 * i);
    case 'int64':
      return Number(buffer.readBigInt64LE(8 * i));
    default:
      throw new Error(`values of type ${dtype}`);
  }
}
