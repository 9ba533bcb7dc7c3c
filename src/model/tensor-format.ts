/** Tensors from float16 to float32 and back. */
import { KnnLMError } from '../errors.ts';
import { floatsToHalf, halfToFloats } from '../math/half.ts';
import type { Ort } from '../onnxruntime.ts';

/**
 * The same numbers in the format that a graph's input has: the encoder may be of another precision than the decoder.
 * Errors: `MODEL_UNSUPPORTED` for other formats, and for numbers that a half cannot hold.
 */
export function inFormat(
  ort: typeof Ort,
  tensor: Ort.Tensor,
  type: string | undefined,
): Ort.Tensor {
  if (type === undefined || tensor.type === type) return tensor;
  if (type === 'float32' && tensor.type === 'float16') {
    const floats = new Float32Array(tensor.size);
    halfToFloats(floats, tensor.data as Uint16Array);
    return new ort.Tensor('float32', floats, tensor.dims);
  }
  if (type === 'float16' && tensor.type === 'float32') {
    const halves = new Uint16Array(tensor.size);
    if (floatsToHalf(halves, tensor.data as Float32Array) < 0) {
      return new ort.Tensor('float16', halves, tensor.dims);
    }
  }
  throw new KnnLMError(
    'MODEL_UNSUPPORTED',
    `The encoder gives ${tensor.type} and the decoder wants ${type}. Use encoder and decoder of one export.`,
  );
}
