/** Random vectors for tests, the same for the same seed. */

/** Uniform in [0, 1): Mulberry32. */
export function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal numbers (Box-Muller). */
export function normals(count: number, seed: number): Float32Array {
  const next = uniform(seed);
  return Float32Array.from(
    { length: count },
    () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  );
}

/** (n, dim) points around `clusters` centers, which depend on dim and clusters only. */
export function clustered(n: number, dim: number, clusters: number, seed: number): Float32Array {
  const centers = normals(clusters * dim, 99);
  const next = uniform(seed);
  const out = normals(n * dim, seed + 1000);
  for (let i = 0; i < n; i++) {
    const center = Math.floor(next() * clusters) * dim;
    for (let j = 0; j < dim; j++) out[i * dim + j] = 3 * centers[center + j]! + out[i * dim + j]!;
  }
  return out;
}
