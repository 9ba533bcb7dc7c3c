/** The keys among a run's results. */
import { KnnLMError } from '../errors.ts';
import type { Ort } from '../onnxruntime.ts';
import type { RuntimePlan } from './worker-protocol.ts';

/** @returns (batch · length, d). Errors: `MODEL_UNSUPPORTED` for another width than keys must have. */
export function keyRows(
  tensor: Ort.Tensor,
  { batch, length }: { batch: number; length: number },
  plan: Pick<RuntimePlan, 'keyDim' | 'keyTensor'>,
): Float32Array {
  const d = tensor.size / (batch * length);
  const expected = plan.keyDim ?? d;
  if (tensor.dims.at(-1) === d && d === expected) return tensor.data as Float32Array;
  const width = plan.keyDim === undefined ? '' : ` of ${expected}`;
  throw new KnnLMError(
    'MODEL_UNSUPPORTED',
    `The key tensor ${plan.keyTensor} has shape (${tensor.dims.join(', ')}) for ${batch} × ${length} tokens; one vector${width} per token was expected. Choose another with --key or --key-tensor.`,
  );
}
