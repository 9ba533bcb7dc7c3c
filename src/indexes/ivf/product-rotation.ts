/**
 * The rotation before a product code: principal components, dealt out so that every sub-vector has about the same product
 * of variances. For normally distributed vectors that is the best there is (Ge et al. 2013, § 3.2, the parametric solution
 * of optimized product quantization).
 */
import { symmetricEigen } from '../../math/symmetric-eigen.ts';
import type { ProductShape } from './codec.ts';

/**
 * @param products (padded, padded) sums of products of centered vectors
 * @returns (width, padded) orthonormal rows, zero from d on
 */
export function productRotation(
  products: Float64Array,
  { dim, padded }: { dim: number; padded: number },
  { width, part }: ProductShape,
): Float32Array {
  const square = new Float64Array(dim * dim);
  for (let i = 0; i < dim; i++) {
    for (let j = 0; j < dim; j++) {
      // Only what lies right of the diagonal is summed in full.
      square[i * dim + j] = products[Math.min(i, j) * padded + Math.max(i, j)]!;
    }
  }
  const { values, vectors } = symmetricEigen(square, dim);
  const rotation = new Float32Array(width * padded);
  for (const [component, row] of allocate(values, width, part).entries()) {
    if (component >= dim) continue;
    const vector = vectors.subarray(component * dim, (component + 1) * dim);
    rotation.set(vector, row * padded);
  }
  return rotation;
}

/** The row of each component: the largest left goes to the sub-vector with the smallest product that has room. */
function allocate(values: Float64Array, width: number, part: number): number[] {
  const count = width / part;
  const filled = new Array<number>(count).fill(0);
  const logs = new Array<number>(count).fill(0);
  // Above 1 all of them, as the greedy choice needs: each component must make its product larger.
  const least = Math.max(values.at(-1)!, values[0]! * 1e-9, Number.MIN_VALUE);
  return Array.from({ length: width }, (_, component) => {
    let best = -1;
    for (let m = 0; m < count; m++) {
      if (filled[m]! < part && (best < 0 || logs[m]! < logs[best]!)) best = m;
    }
    logs[best]! += Math.log(Math.max(values[component] ?? 0, least) / least);
    return best * part + filled[best]!++;
  });
}
