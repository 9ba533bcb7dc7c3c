/** Reads what a TensorProto and a ValueInfoProto say of a tensor; its data only when it is a handful of numbers. */
import { elementBits, elementTypeOf } from './element-types.ts';
import type { Initializer, ValueInfo } from './graph.ts';
import type { Field, ProtobufFile } from './protobuf-file.ts';

const MAX_VALUES = 16;

export function readInitializer(file: ProtobufFile, tensor: Field): Initializer {
  const result: Initializer = {
    name: '',
    dims: [],
    elementType: undefined,
    bytes: 0,
    external: undefined,
    values: undefined,
  };
  const data: Field[] = [];
  const entries = new Map<string, string>();
  for (const field of file.message(tensor)) {
    if (field.number === 1) file.integers(field, result.dims);
    else if (field.number === 2) result.elementType = elementTypeOf(field.value);
    else if (field.number === 8) result.name = file.string(field);
    else if (field.number === 13) readEntry(file, field, entries);
    else if (field.number >= 4 && field.number <= 11) {
      result.bytes += field.end - field.start;
      if (data.length < MAX_VALUES) data.push(field);
    }
  }
  for (const size of result.dims) {
    if (size < 0) throw file.invalid(`tensor ${result.name} has a size of ${size}`);
  }
  if (entries.has('location')) placeOutside(file, result, entries);
  else checkBytes(file, result, data);
  if (elementCount(result.dims) <= MAX_VALUES) result.values = readValues(file, result, data);
  return result;
}

export const elementCount = (dims: readonly number[]): number =>
  dims.reduce((product, size) => product * size, 1);

/** The dense values of a SparseTensorProto carry its name, its own field 3 the dense shape. */
export function readSparseName(file: ProtobufFile, sparse: Field): Initializer {
  let tensor: Initializer | undefined;
  const dims: number[] = [];
  for (const field of file.message(sparse)) {
    if (field.number === 1) tensor = readInitializer(file, field);
    else if (field.number === 3) file.integers(field, dims);
  }
  if (!tensor) throw file.invalid(`the sparse tensor at byte ${sparse.from} has no values`);
  return { ...tensor, dims, values: undefined };
}

function readEntry(file: ProtobufFile, entry: Field, entries: Map<string, string>): void {
  let key = '';
  let value = '';
  for (const field of file.message(entry)) {
    if (field.number === 1) key = file.string(field);
    else if (field.number === 2) value = file.string(field);
  }
  entries.set(key, value);
}

function placeOutside(file: ProtobufFile, tensor: Initializer, entries: Map<string, string>): void {
  const location = entries.get('location')!;
  // onnxruntime refuses these too; here the name also decides which files are hashed and linked.
  if (/^([/\\]|[a-z]:)|(^|[/\\])\.\.([/\\]|$)/i.test(location) || location === '') {
    throw file.invalid(
      `tensor ${tensor.name} has its data outside the model's folder: ${location}`,
    );
  }
  const number = (key: string): number | undefined => {
    const text = entries.get(key);
    if (text === undefined) return undefined;
    const value = Number(text);
    if (Number.isSafeInteger(value) && value >= 0) return value;
    throw file.invalid(`tensor ${tensor.name} has the external ${key} "${text}"`);
  };
  const length = number('length');
  tensor.external = { location, offset: number('offset') ?? 0, length };
  tensor.bytes = length ?? 0;
}

/** raw_data must hold exactly the elements the shape promises: the cheapest sign of a damaged file. */
function checkBytes(file: ProtobufFile, tensor: Initializer, data: Field[]): void {
  const raw = data.find((field) => field.number === 9);
  const bits = tensor.elementType && elementBits(tensor.elementType);
  if (!raw || bits === undefined) return;
  const expected = Math.ceil((elementCount(tensor.dims) * bits) / 8);
  if (raw.end - raw.start === expected) return;
  throw file.invalid(
    `tensor ${tensor.name} has ${raw.end - raw.start} bytes of data, its shape [${tensor.dims}] needs ${expected}`,
  );
}

/** Numbers of a small tensor, from raw_data or from the typed fields; undefined for types nobody needs here. */
function readValues(
  file: ProtobufFile,
  { elementType, dims }: Initializer,
  data: Field[],
): number[] | undefined {
  if (!['int64', 'int32', 'float32'].includes(elementType ?? '')) return undefined;
  const count = elementCount(dims);
  const values: number[] = [];
  for (const field of data) {
    if (field.number === 9) {
      const bytes = file.bytes(field.start, field.end - field.start);
      for (let i = 0; i < count; i++) {
        if (elementType === 'int64') values.push(Number(bytes.readBigInt64LE(8 * i)));
        else if (elementType === 'int32') values.push(bytes.readInt32LE(4 * i));
        else values.push(bytes.readFloatLE(4 * i));
      }
    } else if (field.number === 5 || field.number === 7) file.integers(field, values, MAX_VALUES);
    else if (field.number === 4 && field.end - field.start <= 4 * MAX_VALUES) {
      const bytes = file.bytes(field.start, field.end - field.start);
      for (let at = 0; at + 4 <= bytes.length; at += 4) values.push(bytes.readFloatLE(at));
    }
  }
  return values.length === count ? values : undefined;
}

export function readValueInfo(file: ProtobufFile, info: Field): ValueInfo {
  const value: ValueInfo = { name: '', elementType: undefined, shape: undefined };
  for (const field of file.message(info)) {
    if (field.number === 1) value.name = file.string(field);
    else if (field.number === 2) {
      for (const type of file.message(field)) {
        if (type.number === 1) readTensorType(file, type, value);
      }
    }
  }
  return value;
}

function readTensorType(file: ProtobufFile, type: Field, value: ValueInfo): void {
  for (const field of file.message(type)) {
    if (field.number === 1) value.elementType = elementTypeOf(field.value);
    else if (field.number === 2) {
      value.shape = [];
      for (const dim of file.message(field)) {
        if (dim.number === 1) value.shape.push(readDimension(file, dim));
      }
    }
  }
}

function readDimension(file: ProtobufFile, dim: Field): number | string {
  let size: number | string = '';
  for (const field of file.message(dim)) {
    if (field.number === 1) size = field.value;
    else if (field.number === 2) size = file.string(field);
  }
  return size;
}
