/**
 * Keys of a datastore on the plane of their first two principal components, so that they can be looked at.
 *
 * A sample of entries, evenly spaced among those that can be retrieved. The components are found by subspace iteration
 * with Rayleigh and Ritz's projection (Golub and Van Loan, Matrix Computations, § 8.2.4): passes over the sample, in
 * slices that leave the event loop free, where an eigendecomposition of a (d, d) matrix would take its thread for seconds.
 * Shapes: m sampled entries, d key width, b vectors of the subspace.
 */
import type { Datastore } from '../datastore/datastore.ts';
import { KnnLMError } from '../errors.ts';
import { readKeys } from '../indexes/read-keys.ts';
import { Breather } from '../math/breather.ts';
import { Random } from '../math/random.ts';
import { symmetricEigen } from '../math/symmetric-eigen.ts';

/** b: more vectors than are wanted, so that it converges by the gap to the ninth value and not to the third. */
const SUBSPACE = 8;
const MOST_PASSES = 100;
/** Relative change of the two largest values at which they count as found. */
const TOLERANCE = 1e-7;

export interface KeyMap {
  /** (m) entry ids of the datastore, ascending. */
  entries: Int32Array;
  /** (m) token ids that followed. */
  targets: Uint32Array;
  /** (m) */
  places: { document: string; position: number }[];
  /** (m) */
  x: Float64Array;
  y: Float64Array;
  /** Share of the sample's variance on each axis. */
  variance: [number, number];
  /** Where another key lies. @param key (d) */
  project(key: ArrayLike<number>): { x: number; y: number };
}

/** @param sample m, at most. Errors: `INVALID_ARGUMENT` where keys were dropped, `IO`, `STORE_CORRUPT`. */
export async function mapKeys(datastore: Datastore, sample: number): Promise<KeyMap> {
  if (datastore.dropped) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'The keys of this datastore were dropped, so there is nothing to map. Build it again without --drop-keys.',
    );
  }
  const entries = sampleEntries(datastore, sample);
  const d = datastore.keyDim;
  const keys = await readKeys(datastore.keySources(), d, entries);
  const mean = await centered(keys, d);
  const { axes, variance } = await principalAxes(keys, d);
  const [first, second] = axes as [Float64Array, Float64Array];
  const along = (axis: Float64Array) => (_: number, i: number) =>
    dot(keys.subarray(i * d, (i + 1) * d), axis);
  return {
    entries,
    targets: await datastore.values(entries),
    places: Array.from(entries, (entry) => {
      const { document, position } = datastore.documents.locate(entry);
      return { document: document.id, position };
    }),
    x: Float64Array.from(entries, along(first)),
    y: Float64Array.from(entries, along(second)),
    variance,
    project(key) {
      const moved = Float64Array.from(key, (value, j) => value - mean[j]!);
      return { x: dot(moved, first), y: dot(moved, second) };
    },
  };
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let j = 0; j < a.length; j++) sum += a[j]! * b[j]!;
  return sum;
}

/** Evenly spaced among the entries that can be retrieved. */
function sampleEntries(datastore: Datastore, sample: number): Int32Array {
  const live = datastore.liveEntries;
  const m = Math.min(sample, live);
  const ids = new Int32Array(m);
  const deleted = datastore.excludedRanges();
  let gone = 0;
  let next = 0;
  for (let i = 0; i < m; i++) {
    const rank = Math.floor(((i + 0.5) * live) / m);
    while (next < deleted.length && deleted[next]![0] <= rank + gone) {
      gone += deleted[next]![1] - deleted[next]![0];
      next++;
    }
    ids[i] = rank + gone;
  }
  return ids;
}

/** Takes the mean from every row. @returns (d) the mean */
async function centered(keys: Float32Array, d: number): Promise<Float64Array> {
  const mean = new Float64Array(d);
  const m = keys.length / d;
  const breather = new Breather();
  for (let start = 0; start < keys.length; start += d) {
    for (let j = 0; j < d; j++) mean[j]! += keys[start + j]! / m;
    await breather.pause();
  }
  for (let start = 0; start < keys.length; start += d) {
    for (let j = 0; j < d; j++) keys[start + j]! -= mean[j]!;
    await breather.pause();
  }
  return mean;
}

/** @param rows (m, d) whose mean is zero */
async function principalAxes(
  rows: Float32Array,
  d: number,
): Promise<{ axes: Float64Array[]; variance: [number, number] }> {
  const b = Math.min(SUBSPACE, d);
  const random = new Random(1);
  let basis = Array.from({ length: b }, () =>
    Float64Array.from({ length: d }, () => random.uniform() - 0.5),
  );
  orthonormalize(basis);
  let before = 0;
  for (let pass = 0; ; pass++) {
    const { products, gram, total } = await passOver(rows, d, basis);
    const { values, vectors } = symmetricEigen(gram, b);
    const found = values[0]! + (values[1] ?? 0);
    if (Math.abs(found - before) <= TOLERANCE * found || pass === MOST_PASSES) {
      const axes = [0, 1].map((i) => combined(basis, vectors, i));
      const shareOf = (i: number) => (total > 0 ? Math.max(0, values[i] ?? 0) / total : 0);
      return { axes, variance: [shareOf(0), shareOf(1)] };
    }
    before = found;
    basis = products;
    orthonormalize(basis);
  }
}

/** With the rows X and the basis V: (b, d) VXᵀX, (b, b) VXᵀXVᵀ, and the sum of squares. */
async function passOver(rows: Float32Array, d: number, basis: readonly Float64Array[]) {
  const b = basis.length;
  const products = basis.map(() => new Float64Array(d));
  const gram = new Float64Array(b * b);
  const along = new Float64Array(b);
  const breather = new Breather();
  let total = 0;
  for (let start = 0; start < rows.length; start += d) {
    const row = rows.subarray(start, start + d);
    for (let v = 0; v < b; v++) along[v] = dot(row, basis[v]!);
    for (let v = 0; v < b; v++) {
      const product = products[v]!;
      const by = along[v]!;
      for (let j = 0; j < d; j++) product[j]! += by * row[j]!;
      for (let w = 0; w < b; w++) gram[v * b + w]! += by * along[w]!;
    }
    total += dot(row, row);
    await breather.pause();
  }
  return { products, gram, total };
}

/** Modified Gram and Schmidt. A vector that is nothing beside the others stays zero. */
function orthonormalize(basis: readonly Float64Array[]): void {
  for (const [i, vector] of basis.entries()) {
    for (const other of basis.slice(0, i)) {
      const along = dot(vector, other);
      for (let j = 0; j < vector.length; j++) vector[j]! -= along * other[j]!;
    }
    const square = dot(vector, vector);
    const scale = square > 1e-300 ? 1 / Math.sqrt(square) : 0;
    for (let j = 0; j < vector.length; j++) vector[j]! *= scale;
  }
}

/** A vector of length d from its (b) coordinates, row i; its largest part is positive, so that equal keys give equal maps. */
function combined(basis: readonly Float64Array[], vectors: Float64Array, i: number): Float64Array {
  const b = basis.length;
  const axis = new Float64Array(basis[0]!.length);
  if (i >= b) return axis;
  for (let v = 0; v < b; v++)
    for (let j = 0; j < axis.length; j++) axis[j]! += vectors[i * b + v]! * basis[v]![j]!;
  let largest = 0;
  for (let j = 1; j < axis.length; j++) {
    if (Math.abs(axis[j]!) > Math.abs(axis[largest]!)) largest = j;
  }
  if (axis[largest]! < 0) for (let j = 0; j < axis.length; j++) axis[j]! *= -1;
  return axis;
}
