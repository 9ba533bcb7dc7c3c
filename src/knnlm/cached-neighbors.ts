/**
 * A text's neighbors, retrieved once: all that k, λ and T depend on.
 *
 * For every target the cache holds log p_LM, the k distances in ascending order and one bit per neighbor, whether its
 * value is the target. The neighbors for any smaller k are a prefix, so every setting can be tried without searching
 * again. The arrays lie in shared memory: the worker that searches the settings reads them without a copy.
 */
/** Plain arrays, as they are sent to a worker. Shapes: q targets, k neighbors. */
export interface NeighborTable {
  /** q */
  targets: number;
  k: number;
  /** (q) log p_LM of the target. */
  lm: Float32Array;
  /** (q, k) squared L2 distances, ascending; padding is +Infinity. */
  distances: Float32Array;
  /** (q, ceil(k / 8)) bit i of a row: neighbor i's value is the target. Least significant bit first. */
  matches: Uint8Array;
  /** (q) Which resampling unit (document or window) the target belongs to, from 0. */
  units: Int32Array;
}

/** One batch of targets with their neighbors. */
export interface NeighborBatch {
  /** (b) */
  lm: ArrayLike<number>;
  /** (b) token ids. */
  targets: ArrayLike<number>;
  /** (b) */
  units: ArrayLike<number>;
  /** Neighbors per target, at least the cache's k, or fewer where the datastore is smaller. */
  k: number;
  /** (b, k) */
  distances: ArrayLike<number>;
  /** (b, k) token ids that followed. */
  values: ArrayLike<number>;
}

export class CachedNeighbors {
  readonly k: number;
  readonly capacity: number;
  readonly #table: NeighborTable;
  #length = 0;

  /** @param capacity targets at most; the memory is taken at once, 4.1 kB per target at k = 1,024. */
  constructor(capacity: number, k: number) {
    this.capacity = capacity;
    this.k = k;
    const shared = (bytes: number): SharedArrayBuffer => new SharedArrayBuffer(bytes);
    this.#table = {
      targets: capacity,
      k,
      lm: new Float32Array(shared(4 * capacity)),
      distances: new Float32Array(shared(4 * capacity * k)),
      matches: new Uint8Array(shared(capacity * Math.ceil(k / 8))),
      units: new Int32Array(shared(4 * capacity)),
    };
  }

  /** Targets held. */
  get length(): number {
    return this.#length;
  }

  /** Adds one row of a batch. */
  append(batch: NeighborBatch, row: number): void {
    this.set(this.#length, batch, row);
  }

  /** Puts one row of a batch in a place; every place up to the last must be filled in the end. */
  set(at: number, batch: NeighborBatch, row: number): void {
    if (at >= this.capacity) throw new Error('The neighbor cache is full.');
    const { lm, distances, matches, units } = this.#table;
    this.#length = Math.max(this.#length, at + 1);
    const kept = Math.min(this.k, batch.k);
    const from = row * batch.k;
    const target = batch.targets[row]!;
    const matchRow = at * Math.ceil(this.k / 8);
    lm[at] = batch.lm[row]!;
    units[at] = batch.units[row]!;
    const start = at * this.k;
    for (let i = 0; i < kept; i++) distances[start + i] = batch.distances[from + i]!;
    distances.fill(Number.POSITIVE_INFINITY, start + kept, start + this.k);
    for (let i = 0; i < kept; i++) {
      if (batch.values[from + i] !== target) continue;
      if (batch.distances[from + i] === Number.POSITIVE_INFINITY) continue;
      matches[matchRow + (i >> 3)]! |= 1 << (i & 7);
    }
  }

  /** What is held, as views. */
  table(): NeighborTable {
    const { lm, distances, matches, units } = this.#table;
    const targets = this.#length;
    return {
      targets,
      k: this.k,
      lm: lm.subarray(0, targets),
      distances: distances.subarray(0, targets * this.k),
      matches: matches.subarray(0, targets * Math.ceil(this.k / 8)),
      units: units.subarray(0, targets),
    };
  }
}
