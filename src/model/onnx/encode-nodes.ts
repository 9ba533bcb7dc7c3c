/** Nodes, inputs and outputs as bytes of a GraphProto (field numbers of onnx.proto3). */
import { type ElementType, elementTypeCode } from './element-types.ts';
import { integerField, messageField, stringField } from './protobuf-writer.ts';

export interface NewNode {
  op: string;
  inputs: string[];
  output: string;
  /** Integer attributes; a list is encoded as INTS. */
  attributes?: Record<string, number | number[]>;
}

/** GraphProto.node. Nodes are named after their output. */
export function encodeNode({ op, inputs, output, attributes = {} }: NewNode): Uint8Array {
  return messageField(
    1,
    ...inputs.map((name) => stringField(1, name)),
    stringField(2, output),
    stringField(3, `${output}/${op}`),
    stringField(4, op),
    ...Object.entries(attributes).map(([name, value]) => encodeAttribute(name, value)),
  );
}

const ATTRIBUTE_INT = 2;
const ATTRIBUTE_INTS = 7;

function encodeAttribute(name: string, value: number | number[]): Uint8Array {
  return Array.isArray(value)
    ? messageField(
        5,
        stringField(1, name),
        ...value.map((item) => integerField(8, item)),
        integerField(20, ATTRIBUTE_INTS),
      )
    : messageField(
        5,
        stringField(1, name),
        integerField(3, value),
        integerField(20, ATTRIBUTE_INT),
      );
}

/** GraphProto.initializer: a one-dimensional int64 constant. */
export const encodeIntegers = (name: string, values: number[]): Uint8Array =>
  messageField(
    5,
    integerField(1, values.length),
    integerField(2, elementTypeCode('int64')),
    ...values.map((value) => integerField(7, value)),
    stringField(8, name),
  );

/** GraphProto.input (11) or GraphProto.output (12). Without a shape, onnxruntime infers it. */
export function encodeValueInfo(
  field: 11 | 12,
  name: string,
  type: ElementType,
  shape?: (string | number)[],
): Uint8Array {
  const dims = shape?.map((dim) =>
    messageField(1, typeof dim === 'number' ? integerField(1, dim) : stringField(2, dim)),
  );
  return messageField(
    field,
    stringField(1, name),
    messageField(
      2,
      messageField(
        1,
        integerField(1, elementTypeCode(type)),
        ...(dims ? [messageField(2, ...dims)] : []),
      ),
    ),
  );
}
