/**
 * Products of integer matrices on onnxruntime: u8 (rows, d) × i8 (d, columns) → i32. A model of one MatMulInteger node is
 * written here byte by byte (ONNX is Protocol Buffers; field numbers are those of onnx.proto). Runs in worker threads.
 */
import { loadOnnxRuntime, type Ort } from '../onnxruntime.ts';

function varint(value: number): number[] {
  return value < 128 ? [value] : [(value & 127) | 128, ...varint(value >>> 7)];
}
const number = (field: number, value: number) => [...varint(field << 3), ...varint(value)];
const message = (field: number, ...parts: number[][]) => {
  const body = parts.flat();
  return [...varint((field << 3) | 2), ...varint(body.length), ...body];
};
const text = (field: number, value: string) => message(field, [...Buffer.from(value)]);

/** TensorProto.DataType */
const UINT8 = 2;
const INT8 = 3;
const INT32 = 6;

/** A ValueInfoProto of a matrix with free dimensions. */
function matrix(field: number, name: string, type: number): number[] {
  const dimension = (suffix: string) => message(1, text(2, name + suffix));
  const shape = message(2, dimension('_rows'), dimension('_columns'));
  return message(field, text(1, name), message(2, message(1, number(1, type), shape)));
}

function modelBytes(): Uint8Array {
  const node = message(1, text(1, 'a'), text(1, 'b'), text(2, 'y'), text(4, 'MatMulInteger'));
  const graph = message(
    7,
    node,
    text(2, 'product'),
    matrix(11, 'a', UINT8),
    matrix(11, 'b', INT8),
    matrix(12, 'y', INT32),
  );
  const irVersion = number(1, 7);
  const opset = message(8, number(2, 13));
  return Uint8Array.from([...irVersion, ...graph, ...opset]);
}

export interface ProductOperands {
  /** (rows, d) */
  a: Uint8Array;
  /** (d, columns) */
  b: Int8Array;
  /** (rows, columns), written. */
  out: Int32Array;
  rows: number;
  d: number;
  columns: number;
}

export class IntegerProduct {
  /** Largest |b| for which products are exact: 127, or 63 where the processor adds pairs of products in 16 bits. */
  readonly mostB: number;
  readonly #ort: typeof Ort;
  readonly #session: Ort.InferenceSession;

  private constructor(ort: typeof Ort, session: Ort.InferenceSession, mostB: number) {
    this.#ort = ort;
    this.#session = session;
    this.mostB = mostB;
  }

  static async create(): Promise<IntegerProduct> {
    const ort = await loadOnnxRuntime();
    const session = await ort.InferenceSession.create(modelBytes(), {
      intraOpNumThreads: 1,
      interOpNumThreads: 1,
      executionMode: 'sequential',
    });
    const wide = new IntegerProduct(ort, session, 127);
    if (await wide.#isExact()) return wide;
    const narrow = new IntegerProduct(ort, session, 63);
    if (await narrow.#isExact()) return narrow;
    throw new Error('Integer matrix products of onnxruntime are not exact on this processor.');
  }

  /** Buffers must not be shared between threads: onnxruntime-node refuses SharedArrayBuffers. */
  async multiply({ a, b, out, rows, d, columns }: ProductOperands): Promise<void> {
    const { Tensor } = this.#ort;
    await this.#session.run(
      { a: new Tensor('uint8', a, [rows, d]), b: new Tensor('int8', b, [d, columns]) },
      { y: new Tensor('int32', out, [rows, columns]) },
    );
  }

  /** Extremes of both operands: x86 without VNNI may saturate a sum of two products at 32,767. */
  async #isExact(): Promise<boolean> {
    const rows = 64;
    const d = 64;
    const columns = 32;
    const a = new Uint8Array(rows * d).fill(255);
    const b = Int8Array.from({ length: d * columns }, (_, i) =>
      (i % columns) & 1 ? -this.mostB : this.mostB,
    );
    const out = new Int32Array(rows * columns);
    await this.multiply({ a, b, out, rows, d, columns });
    const sum = 255 * this.mostB * d;
    return out.every((value, i) => value === ((i % columns) & 1 ? -sum : sum));
  }
}
