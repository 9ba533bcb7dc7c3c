/** Reference numbers (`fixtures/golden`) and their tolerances. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';

export interface Golden {
  window: number;
  stride: number;
  datastore: {
    documents: string[];
    starts: number[];
    entries: number;
    values_head: number[];
    key_checksum: number;
    first_key: number[];
    last_key: number[];
  };
  perplexity: Record<string, number>;
  documents: {
    id: string;
    tokens: number[];
    lm: number[];
    knn: Record<string, { mixture: number[]; knn_probability: number[] }>;
    first_neighbours: { target: number; entries: number[]; squared_distances: number[] }[];
  }[];
}

export const readGolden = (name: string): Golden =>
  JSON.parse(
    readFileSync(
      fileURLToPath(new URL(`./fixtures/golden/${name}.golden.json`, import.meta.url)),
      'utf8',
    ),
  ) as Golden;

/** `k=8 temperature=1 lambda=0.25` as settings. */
export function settingsOf(name: string): { k: number; temperature: number; lambda: number } {
  const [k, temperature, lambda] = [...name.matchAll(/=([\d.]+)/g)].map(([, value]) =>
    Number(value),
  );
  return { k: k!, temperature: temperature!, lambda: lambda! };
}

export function expectClose(
  seen: ArrayLike<number>,
  wanted: ArrayLike<number>,
  tolerance: number,
  relative = false,
): void {
  expect(seen.length).toBe(wanted.length);
  let worst = 0;
  for (let i = 0; i < wanted.length; i++) {
    if (seen[i] === wanted[i]) continue;
    const scale = relative ? Math.max(1e-6, Math.abs(wanted[i]!)) : 1;
    worst = Math.max(worst, Math.abs(seen[i]! - wanted[i]!) / scale);
  }
  expect(worst).toBeLessThan(tolerance);
}

/** Neighbors at (nearly) equal distance may come in any order. */
export function sameUpToTies(seen: number[], wanted: number[], distances: number[]): boolean {
  return seen.every((id, i) => {
    const at = wanted.indexOf(id);
    const distance = distances[at < 0 ? wanted.length - 1 : at]!;
    return Math.abs(distance - distances[i]!) <= 1e-3 * Math.max(1, distance);
  });
}
