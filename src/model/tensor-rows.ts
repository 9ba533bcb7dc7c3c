/** Rows of a batch, chosen and repeated: how beams of a search hand their caches on. */
import type { Ort } from '../onnxruntime.ts';

/** @param rows of the first axis, in the order wanted; one may come several times @returns the tensor itself when nothing changes */
export function selectRows(
  ort: typeof Ort,
  tensor: Ort.Tensor,
  rows: readonly number[],
): Ort.Tensor {
  const [count = 0, ...rest] = tensor.dims;
  if (rows.length === count && rows.every((row, i) => row === i)) return tensor;
  const size = tensor.size / count;
  const data = tensor.data as Float32Array;
  const out = new (data.constructor as Float32ArrayConstructor)(rows.length * size);
  rows.forEach((row, i) => {
    out.set(data.subarray(row * size, (row + 1) * size), i * size);
  });
  return new ort.Tensor(tensor.type as 'float32', out, [rows.length, ...rest]);
}
