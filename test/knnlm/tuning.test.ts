import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bestLambda, logGain } from '../../dist/knnlm/best-lambda.js';
import { CachedNeighbors, type NeighborTable } from '../../dist/knnlm/cached-neighbors.js';
import { interpolate, knnLogProbOf } from '../../dist/knnlm/interpolate.js';
import { runSettingsSearch } from '../../dist/knnlm/run-settings-search.js';
import { searchSettings } from '../../dist/knnlm/search-settings.js';
import { TuningWindows } from '../../dist/knnlm/tuning-windows.js';
import { Random } from '../../dist/math/random.js';

/** Neighbors as a retriever gives them. Shapes: q targets, k neighbors. */
interface Rows {
  k: number;
  lm: number[];
  targets: number[];
  units: number[];
  /** (q, k) */
  distances: Float32Array;
  /** (q, k) */
  values: Uint32Array;
}

/** Random neighbors whose nearest values are right with the given probability; some rows are short. */
function randomRows(seed: number, { targets = 200, k = 20, right = 0.5 } = {}): Rows {
  const random = new Random(seed);
  const rows: Rows = {
    k,
    lm: Array.from({ length: targets }, () => Math.fround(-6 * random.uniform())),
    targets: Array.from({ length: targets }, () => random.below(50)),
    units: Array.from({ length: targets }, (_, i) => Math.floor(i / 10)),
    distances: new Float32Array(targets * k),
    values: new Uint32Array(targets * k),
  };
  for (let row = 0; row < targets; row++) {
    const found = random.below(10) === 0 ? random.below(k + 1) : k;
    let distance = 50;
    for (let i = 0; i < k; i++) {
      distance += 10 * random.uniform();
      rows.distances[row * k + i] = i < found ? distance : Number.POSITIVE_INFINITY;
      const isRight = random.uniform() < right / (1 + i / 4);
      rows.values[row * k + i] = isRight ? rows.targets[row]! : random.below(50);
    }
  }
  return rows;
}

function cached(rows: Rows, k = rows.k): NeighborTable {
  const cache = new CachedNeighbors(rows.targets.length, k);
  for (let row = 0; row < rows.targets.length; row++) cache.append(rows, row);
  return cache.table();
}

/** The evaluation's own formula, target by target. */
function evaluated(
  { k, lm, targets, distances, values }: Rows,
  settings: { k: number; lambda: number; temperature: number },
): number {
  let nll = 0;
  targets.forEach((target, row) => {
    const from = row * k;
    const neighbors = {
      distances: distances.subarray(from, from + settings.k),
      values: values.subarray(from, from + settings.k),
    };
    const none = neighbors.distances[0] === Number.POSITIVE_INFINITY;
    const knn = knnLogProbOf(target, neighbors, settings.temperature);
    nll -= none ? lm[row]! : interpolate(lm[row]!, knn, settings.lambda);
  });
  return Math.exp(nll / targets.length);
}

describe('bestLambda', () => {
  it('is at least as good as every λ of a fine grid', () => {
    const gains = fc.array(fc.double({ min: -1, max: 50, noNaN: true }), { minLength: 1 });
    fc.assert(
      fc.property(gains, (values) => {
        const array = Float32Array.from(values);
        const best = logGain(array, bestLambda(array));
        for (let i = 0; i < 100; i++) {
          expect(best).toBeGreaterThanOrEqual(logGain(array, i / 100) - 1e-4);
        }
      }),
    );
  });

  it('is 0 where every target loses, and 1 where every target gains', () => {
    expect(bestLambda(Float32Array.of(-0.5, -1, -0.1))).toBe(0);
    expect(bestLambda(Float32Array.of(0.5, 3))).toBe(1);
  });

  it('is short of 1 as soon as one target has no vote', () => {
    expect(bestLambda(Float32Array.of(...Array(50).fill(9), -1))).toBeLessThan(1);
  });
});

describe('searchSettings', () => {
  it('reports the perplexity that the evaluation would give, for every cell', () => {
    const rows = randomRows(1);
    const found = searchSettings(cached(rows));
    for (const cell of [...found.cells.flat(), found.best]) {
      expect(cell.perplexity).toBeCloseTo(evaluated(rows, cell), 4);
    }
    expect(found.lm).toBeCloseTo(evaluated(rows, { k: 1, lambda: 0, temperature: 1 }), 4);
  });

  it('finds a setting as good as the best of an exhaustive grid, or a smaller k within 0.1%', () => {
    for (const seed of [2, 3]) {
      const rows = randomRows(seed, { right: 0.6 });
      const found = searchSettings(cached(rows));
      let least = Number.POSITIVE_INFINITY;
      for (const k of [1, 2, 4, 8, 16, 20]) {
        for (let octave = -4; octave <= 4; octave += 0.25) {
          for (let lambda = 0; lambda < 1; lambda += 0.02) {
            const setting = { k, lambda, temperature: 40 * 2 ** octave };
            least = Math.min(least, evaluated(rows, setting));
          }
        }
      }
      expect(found.best.perplexity).toBeLessThan(least * 1.0011);
      expect(found.best.lambda).toBeGreaterThan(0);
    }
  });

  it('gives the same for a smaller k whether the cache holds more neighbors or not', () => {
    const rows = randomRows(4);
    const deep = searchSettings(cached(rows)).cells.find((row) => row[0]!.k === 8)!;
    const shallow = searchSettings(cached(rows, 8)).cells.at(-1)!;
    // The grids of T are centered on different spreads; compare the optimum over T.
    const least = (row: { perplexity: number }[]) => Math.min(...row.map((c) => c.perplexity));
    expect(least(shallow)).toBeCloseTo(least(deep), 1);
    for (const cell of shallow) {
      expect(cell.perplexity).toBeCloseTo(evaluated(rows, cell), 4);
    }
  });

  it('leaves the model alone where no neighbor ever votes for the target', () => {
    const found = searchSettings(cached(randomRows(5, { right: 0 })));
    const never = randomRows(6);
    never.values.fill(99);
    const none = searchSettings(cached(never));
    expect(none.best.lambda).toBe(0);
    expect(none.best.perplexity).toBeCloseTo(none.lm, 10);
    expect(none.best.k).toBe(1);
    expect(found.best.perplexity).toBeLessThanOrEqual(found.lm);
  });

  it('measures a perplexity on halves that were not tuned on, no better than the tuned one', () => {
    const found = searchSettings(cached(randomRows(7)));
    expect(found.crossValidated).toBeGreaterThanOrEqual(found.best.perplexity * 0.9999);
    expect(found.crossValidated).toBeLessThan(found.lm);
  });

  it('runs in a worker with the same result, and can be stopped', async () => {
    const table = cached(randomRows(8));
    const task = { neighbors: table, allowed: { cache: true, pointers: true, adaptive: true } };
    expect(await runSettingsSearch(task)).toEqual({ search: searchSettings(table) });
    const stop = new AbortController();
    const stopped = runSettingsSearch(task, stop.signal);
    stop.abort();
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('TuningWindows', () => {
  const plan = { window: 8, stride: 4 };
  const text = (length: number, first = 1) =>
    Int32Array.from({ length }, (_, i) => first + i) as Int32Array;
  const read = (inputs: Int32Array, targets: Int32Array) => ({
    inputs,
    targets,
    sourceIds: undefined,
  });

  it('takes a text within the budget whole, every target once', () => {
    const windows = new TuningWindows(plan, 100);
    windows.add(read(text(21, 0), text(21)));
    windows.add(read(text(5, 100), text(5, 101)));
    const targets = windows
      .take()
      .flatMap(({ targets, positions }) => [...positions].map((p) => targets[p]));
    expect(targets).toEqual([...text(21), ...text(5, 101)]);
  });

  it('spreads a sample of the wanted size evenly over a longer text', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 40, max: 200 }),
        fc.integer({ min: 500, max: 4000 }),
        (n, t) => {
          const windows = new TuningWindows(plan, n);
          windows.add(read(text(t, 0), text(t)));
          const taken = windows.take();
          const targets = taken.flatMap(({ targets, positions }) =>
            [...positions].map((p) => targets[p]!),
          );
          expect(targets.length).toBeLessThanOrEqual(n);
          expect(targets.length).toBeGreaterThan(n / 2 - 8);
          expect(new Set(targets).size).toBe(targets.length);
          expect(targets).toEqual([...targets].sort((a, b) => a - b));
          expect(targets.at(-1)!).toBeGreaterThan(0.6 * t);
          expect(windows.targets).toBe(t);
        },
      ),
    );
  });
});
