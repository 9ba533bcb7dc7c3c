import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CachedEvidence } from '../../dist/knnlm/cached-evidence.js';
import { CachedNeighbors } from '../../dist/knnlm/cached-neighbors.js';
import { Gate } from '../../dist/knnlm/gate.js';
import { interpolate } from '../../dist/knnlm/interpolate.js';
import { trainGate } from '../../dist/knnlm/train-gate.js';
import { Trust } from '../../dist/knnlm/trust.js';
import { votesOf } from '../../dist/knnlm/votes.js';
import { searchedAlone, Weigher } from '../../dist/knnlm/weigh.js';
import { Random } from '../../dist/math/random.js';

const K = 32;
const SETTING = { k: K, temperature: 10, lambda: 0.4, perplexity: 0 };

/** Queries whose neighbors are right when they are near and wrong when they are far. Shapes: q targets, k neighbors. */
function nearIsRight(seed: number, count = 1200) {
  const random = new Random(seed);
  const rows = {
    k: K,
    lm: [] as number[],
    targets: [] as number[],
    units: [] as number[],
    distances: new Float32Array(count * K),
    values: new Uint32Array(count * K),
  };
  for (let row = 0; row < count; row++) {
    const near = random.uniform() < 0.5;
    rows.lm.push(Math.fround(-1 - 5 * random.uniform()));
    rows.targets.push(random.below(100));
    rows.units.push(Math.floor(row / 50));
    const found = random.below(20) === 0 ? random.below(K + 1) : K;
    let distance = near ? 10 : 200;
    for (let i = 0; i < K; i++) {
      distance += 3 * random.uniform();
      rows.distances[row * K + i] = i < found ? distance : Number.POSITIVE_INFINITY;
      const right = random.uniform() < (near ? 0.7 : 0.02);
      rows.values[row * K + i] = right ? rows.targets[row]! : random.below(100);
    }
  }
  return rows;
}

type Rows = ReturnType<typeof nearIsRight>;

function train(rows: Rows) {
  return trainGate(tablesOf(rows), { point: SETTING, allowed: { cache: true, pointers: true } })!;
}

const all = (count: number) => Array.from({ length: count }, (_, row) => row);

/** Neighbors alone: nothing is remembered, and nothing is pointed at. */
function tablesOf(rows: Rows) {
  const places = all(rows.targets.length);
  const cache = new CachedNeighbors(places.length, K);
  const evidence = new CachedEvidence(places, places, K);
  for (const row of places) {
    cache.append(rows, row);
    evidence.set(row, searchedAlone(rowOf(rows, row)), rows.targets[row]!);
  }
  return { neighbors: cache.table(), evidence: evidence.table() };
}

function rowOf({ distances, values }: Rows, row: number) {
  const [from, to] = [row * K, (row + 1) * K];
  const own = distances.subarray(from, to);
  const ids = Int32Array.from(own, (distance, i) => (Number.isFinite(distance) ? i : -1));
  return { ids, distances: own, values: values.subarray(from, to) };
}

const rows = nearIsRight(1);
const trained = train(rows);

describe('a gate', () => {
  it('is fitted to a few neighbors of many, whatever numbers their tokens have', () => {
    const many = 300;
    const [cache, evidence] = [
      new CachedNeighbors(600, many),
      new CachedEvidence(all(600), all(600), many),
    ];
    const random = new Random(5);
    for (let row = 0; row < 600; row++) {
      const found = {
        ids: Int32Array.from({ length: many }, (_, i) => i),
        distances: Float32Array.from({ length: many }, (_, i) => i + random.uniform()),
        values: Uint32Array.from({ length: many }, (_, i) => i),
      };
      const target = 500 + random.below(4);
      cache.append({ ...found, k: many, lm: [-3], targets: [target], units: [row >> 4] }, 0);
      const cached = { distances: Float32Array.of(1, 2), values: Uint32Array.of(target, 9) };
      evidence.set(row, { ...searchedAlone(found), cached }, target);
    }
    const tables = { neighbors: cache.table(), evidence: evidence.table() };
    const point = { ...SETTING, k: 1 };
    const gate = trainGate(tables, { point, allowed: { cache: true, pointers: false } })!;
    // The cache alone knows the token, and says so each time.
    expect(gate.parts).toEqual({ cache: true, pointers: false });
    expect(gate.crossValidated).toBeLessThan(0.5 * gate.constant);
  });

  it('learns when neighbors can be trusted, and beats the constant on text it was not fitted to', () => {
    expect(trained.crossValidated).toBeLessThan(0.8 * trained.constant);
    const gate = new Gate(trained.gate, K);
    const near = rowOf(rows, 0);
    near.distances.set(Float32Array.from({ length: K }, (_, i) => 10 + i));
    near.values.fill(7);
    const far = {
      ...near,
      distances: near.distances.map((d) => d + 190),
      values: new Uint32Array(K),
    };
    far.values.set(Array.from({ length: K }, (_, i) => i));
    expect(gate.weigh(searchedAlone(near)).lambda).toBeGreaterThan(0.6);
    expect(gate.weigh(searchedAlone(far)).lambda).toBeLessThan(0.2);
  });

  it('gives query by query the perplexity that its training reported', () => {
    const fresh = nearIsRight(2);
    const { gate, perplexity, targets } = train(fresh);
    const reader = new Gate(gate, K);
    let nll = 0;
    let count = 0;
    for (let row = 0; row < fresh.targets.length; row++) {
      const neighbors = rowOf(fresh, row);
      if (neighbors.distances[0] === Number.POSITIVE_INFINITY) continue;
      const { lambda, weights } = reader.weigh(searchedAlone(neighbors));
      const knn = Math.exp(votesOf(neighbors, weights).of(fresh.targets[row]!));
      nll -= Math.log(lambda * knn + (1 - lambda) * Math.exp(fresh.lm[row]!));
      count++;
    }
    expect(count).toBe(targets);
    expect(Math.exp(nll / count)).toBeCloseTo(perplexity, 5);
  });

  it('gives weights that sum to 1 and a λ between 0 and 1 for any neighbors', () => {
    const gate = new Gate(trained.gate, K);
    const distance = fc.float({ min: 0, max: 1e6, noNaN: true });
    fc.assert(
      fc.property(fc.array(distance, { minLength: 1, maxLength: K }), (given) => {
        const distances = Float32Array.from([...given].sort((a, b) => a - b));
        const padded = new Float32Array(K).fill(Number.POSITIVE_INFINITY);
        padded.set(distances);
        const values = Uint32Array.from({ length: K }, (_, i) => i % 5);
        const ids = Int32Array.from(padded, (d, i) => (Number.isFinite(d) ? i : -1));
        const { lambda, weights } = gate.weigh(searchedAlone({ ids, distances: padded, values }));
        expect(lambda).toBeGreaterThanOrEqual(0);
        expect(lambda).toBeLessThanOrEqual(1);
        expect(weights.reduce((a, b) => a + b)).toBeCloseTo(1, 9);
        expect(weights.subarray(given.length).every((weight) => weight === 0)).toBe(true);
      }),
    );
  });

  it('leaves the model alone when nothing was found', () => {
    const distances = new Float32Array(K).fill(Number.POSITIVE_INFINITY);
    const ids = new Int32Array(K).fill(-1);
    const nothing = { ids, distances, values: new Uint32Array(K) };
    const gate = new Gate(trained.gate, K);
    expect(gate.weigh(searchedAlone(nothing))).toEqual({ lambda: 0, weights: new Float64Array(K) });
    const { lambda } = new Weigher({ ...SETTING, gate: trained.gate }).weigh(
      searchedAlone(nothing),
    );
    expect(interpolate(-2.5, Math.log(0), lambda)).toBe(-2.5);
  });

  it('is not fitted to a handful of targets', () => {
    expect(train(nearIsRight(3, 100))).toBeUndefined();
  });
});

describe('Trust', () => {
  it('costs under 1.7 nats and 0.09% in all where the memory is of no use, however long the text is', () => {
    const logProb = fc.double({ min: -20, max: -0.01, noNaN: true });
    const text = fc.array(fc.tuple(logProb, logProb), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(text, (targets) => {
        const trust = new Trust();
        let nll = 0;
        let lmNll = 0;
        for (const [mixture, lm] of targets) {
          nll -= trust.next(mixture, lm);
          lmNll -= lm;
        }
        expect(nll).toBeLessThan(lmNll + 1.7 + 0.0009 * targets.length);
      }),
    );
  });

  it('costs hardly anything where the memory helps', () => {
    const trust = new Trust();
    let nll = 0;
    for (let i = 0; i < 200; i++) nll -= trust.next(-2, -4);
    expect(nll / 200).toBeLessThan(2.003);
    expect(trust.share).toBeGreaterThan(0.99);
  });

  it('comes back when the text turns to what the store knows', () => {
    const trust = new Trust();
    for (let i = 0; i < 500; i++) trust.next(-6, -3);
    expect(trust.share).toBeLessThan(0.01);
    for (let i = 0; i < 20; i++) trust.next(-2, -3);
    expect(trust.share).toBeGreaterThan(0.9);
  });

  it('is a distribution: what it gives to all tokens sums to 1', () => {
    const mixture = [0.7, 0.2, 0.1];
    const lm = [0.2, 0.3, 0.5];
    let sum = 0;
    for (let token = 0; token < 3; token++) {
      const trust = new Trust();
      trust.next(Math.log(0.9), Math.log(0.1));
      sum += Math.exp(trust.next(Math.log(mixture[token]!), Math.log(lm[token]!)));
    }
    expect(sum).toBeCloseTo(1, 12);
  });
});
