/** ONNX element types by number (`TensorProto.DataType`), under the names onnxruntime-node gives its tensors. */
const names = [
  undefined,
  'float32',
  'uint8',
  'int8',
  'uint16',
  'int16',
  'int32',
  'int64',
  'string',
  'bool',
  'float16',
  'float64',
  'uint32',
  'uint64',
  'complex64',
  'complex128',
  'bfloat16',
  'float8e4m3fn',
  'float8e4m3fnuz',
  'float8e5m2',
  'float8e5m2fnuz',
  'uint4',
  'int4',
  'float4e2m1',
] as const;

export type ElementType = NonNullable<(typeof names)[number]>;

/** The type with this number in the file; undefined for "unset" and for numbers newer than this list. */
export const elementTypeOf = (code: number): ElementType | undefined => names[code];

export const elementTypeCode = (type: ElementType): number => names.indexOf(type);

/** Bits one element takes in `raw_data`; undefined for strings, which have no fixed width. */
export function elementBits(type: ElementType): number | undefined {
  if (type === 'string') return undefined;
  if (type === 'bool') return 8;
  if (type === 'complex64') return 64;
  if (type === 'complex128') return 128;
  // The digits after the first letters are the width: float16, uint4, float8e4m3fn.
  return Number(/\d+/.exec(type)![0]);
}
