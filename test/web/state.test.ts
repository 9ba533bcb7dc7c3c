import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Gate } from '../../dist/knnlm/gate.js';
import { interpolate, knnLogProbs } from '../../dist/knnlm/interpolate.js';
import { searchedAlone } from '../../dist/knnlm/weigh.js';
import type { GateParameters } from '../../src/datastore/types.ts';
import type { KnnToken, Neighbor, RawNeighbors } from '../../src/server/wire.ts';
import {
  fromFragment,
  type Inspection,
  toFragment,
  VIEWS,
} from '../../web/src/state/inspection.ts';
import { leftOutMask, Mixer, memoryShare } from '../../web/src/state/mixture.ts';
import { evidenceStep, logRatio, movedInWords, movedStep } from '../../web/src/state/moved.ts';
import { placesOf } from '../../web/src/state/places.ts';
import {
  assignDocuments,
  SWITCH_COST,
  sourcesOf,
  UNSOURCED,
  wordStarts,
} from '../../web/src/state/sources.ts';
import { votersOf } from '../../web/src/state/voters.ts';
import { readEvidence } from '../../web/src/store/evidence.ts';

/** k neighbors of two documents over three tokens, of which the model gives a fourth the most. */
function raw(distances: number[], targets: number[], documents: number[]): RawNeighbors {
  return {
    entries: distances.map((_, i) => i),
    distances,
    targets,
    documents,
    positions: distances.map((_, i) => i * 100),
    document_ids: ['one', 'two'],
    document_stores: ['store', 'store'],
    candidates: [7, 1, 2, 3].map((id, rank) => ({
      id,
      text: `t${id}`,
      log_p_lm: Math.log([0.5, 0.2, 0.1, 0.05][rank]!),
    })),
    gate: null,
  };
}

const neighbors = fc
  .array(
    fc.record({
      distance: fc.double({ min: 0, max: 50, noNaN: true }),
      target: fc.constantFrom(1, 2, 3),
      document: fc.constantFrom(0, 1),
    }),
    { minLength: 1, maxLength: 40 },
  )
  .map((all) => all.sort((a, b) => a.distance - b.distance));

describe('The mixture in the browser', () => {
  it('is that of the library for any neighbors, k, λ and T', () => {
    const settings = fc.record({
      k: fc.integer({ min: 1, max: 50 }),
      lambda: fc.double({ min: 0, max: 1, noNaN: true }),
      temperature: fc.double({ min: 0.1, max: 100, noNaN: true }),
    });
    fc.assert(
      fc.property(neighbors, settings, (all, { k, lambda, temperature }) => {
        const told = raw(
          all.map((n) => n.distance),
          all.map((n) => n.target),
          all.map((n) => n.document),
        );
        const mixed = new Mixer(told).mix({ k, lambda, temperature, gate: false });
        const values = told.targets.slice(0, k);
        const votes = knnLogProbs({ distances: told.distances.slice(0, k), values }, temperature);
        told.candidates.forEach(({ id, log_p_lm }, c) => {
          const knn = votes.get(id) ?? Number.NEGATIVE_INFINITY;
          expect(mixed.pKnn[c]).toBeCloseTo(Math.exp(knn), 10);
          expect(mixed.p[c]).toBeCloseTo(Math.exp(interpolate(log_p_lm, knn, lambda)), 10);
        });
      }),
    );
  });

  it('is that of the library with a gate', () => {
    const parameters: GateParameters = {
      temperatures: [4, 8],
      ranks: [1, 2],
      means: [5, 9, 0, 1, 0, 1],
      deviations: [2, 3, 1, 1, 1, 1],
      weights: [
        [0.3, 0, 0.2, 0, 0.1, 0, 0.5],
        [-0.2, 0.1, 0, 0.4, 0, 0, 0.1],
        [0, 0, 0.3, 0, -0.3, 0.2, 0],
      ],
    };
    const told = raw([3, 5, 9, 12], [1, 2, 1, 3], [0, 0, 1, 1]);
    const row = {
      ids: Int32Array.from(told.entries),
      distances: Float32Array.from(told.distances),
      values: Uint32Array.from(told.targets),
    };
    const gate = new Gate(parameters, 4);
    const { lambda, weights } = gate.weigh(searchedAlone(row));
    const shares = [1 - lambda, 0, 0];
    // The gate's own shares are found again from its λ and its weights: two equations for two unknowns.
    const softmax = (t: number): number[] => {
      const raw = told.distances.map((d) => Math.exp(-d / t));
      const sum = raw.reduce((a, b) => a + b, 0);
      return raw.map((w) => w / sum);
    };
    const [cold, hot] = [softmax(4), softmax(8)];
    shares[1] = (lambda * (weights[0]! - hot[0]!)) / (cold[0]! - hot[0]!);
    shares[2] = lambda - shares[1];
    const mixer = new Mixer({
      ...told,
      gate: { lm: shares[0]!, temperatures: [4, 8], weights: shares.slice(1) },
    });
    const mixed = mixer.mix({ k: 4, lambda: 0.9, temperature: 1, gate: true });
    expect(mixed.lambda).toBeCloseTo(lambda, 10);
    for (let i = 0; i < 4; i++) expect(mixed.weights[i]).toBeCloseTo(weights[i]!, 6);
  });

  it('lets the next neighbors vote in the place of those left out', () => {
    const told = raw([1, 2, 3], [1, 1, 2], [0, 0, 1]);
    const settings = { k: 1, lambda: 0.5, temperature: 1, gate: false };
    const mixer = new Mixer(told);
    expect(mixer.mix(settings).pKnn[mixer.candidate(1)]).toBe(1);
    const without = mixer.mix(settings, leftOutMask(told, ['one']));
    expect(without.pKnn[mixer.candidate(2)]).toBe(1);
    expect(without.pKnn[mixer.candidate(1)]).toBe(0);
  });

  it('is the model alone when every document is left out', () => {
    const told = raw([1, 2], [1, 2], [0, 1]);
    const settings = { k: 2, lambda: 0.9, temperature: 1, gate: false };
    const mixed = new Mixer(told).mix(settings, leftOutMask(told, ['one', 'two']));
    expect([...mixed.p]).toEqual([...mixed.pLm]);
    expect(mixed.lambda).toBe(0);
  });

  it('knows a token that is neither likely nor voted for, when it is told', () => {
    const also = { id: 99, text: 'rare', log_p_lm: Math.log(1e-6) };
    const mixer = new Mixer(raw([1], [1], [0]), also);
    const mixed = mixer.mix({ k: 1, lambda: 0.25, temperature: 1, gate: false });
    expect(mixed.p[mixer.candidate(99)]).toBeCloseTo(0.75e-6, 12);
  });

  it('finds the share of memory in a probability without being told λ', () => {
    const [p_lm, p_knn, lambda] = [0.1, 0.6, 0.3];
    const p = lambda * p_knn + (1 - lambda) * p_lm;
    expect(memoryShare({ p, p_lm, p_knn })).toBeCloseTo((lambda * p_knn) / p, 10);
    expect(memoryShare({ p: 0.07, p_lm: 0.1, p_knn: 0 })).toBe(0);
  });
});

describe('The address', () => {
  const text = fc.string({ minLength: 1, unit: 'grapheme' });
  const number = fc.double({ min: 0, max: 1e6, noNaN: true, noDefaultInfinity: true });
  const inspections: fc.Arbitrary<Inspection> = fc.record(
    {
      view: fc.constantFrom(...VIEWS),
      prompt: text,
      ids: fc.array(fc.nat(300_000), { minLength: 1 }),
      prompted: fc.nat(),
      at: fc.nat(),
      alone: fc.constant(true as const),
      k: fc.nat(),
      lambda: number,
      temperature: number,
      gate: fc.boolean(),
      exclude: fc.array(text, { minLength: 1 }),
      text,
      query: text,
      document: text,
      store: text,
      position: fc.nat(),
      color: fc.constantFrom('document' as const, 'target' as const),
      context: text,
    },
    { requiredKeys: ['view'] },
  );

  it('gives every inspection back', () => {
    fc.assert(
      fc.property(inspections, (inspection) => {
        expect(fromFragment(toFragment(inspection))).toEqual({
          ...inspection,
          ...(inspection.lambda !== undefined && { lambda: inspection.lambda || 0 }),
          ...(inspection.temperature !== undefined && { temperature: inspection.temperature || 0 }),
        });
      }),
    );
  });

  it('leaves out what cannot be read', () => {
    expect(fromFragment('#/nowhere?at=-1&lambda=x&gate=2&ids=1.%21&k=1.5')).toEqual({
      view: 'write',
    });
    expect(fromFragment('')).toEqual({ view: 'write' });
    fc.assert(fc.property(fc.string(), (any) => VIEWS.includes(fromFragment(any).view)));
  });
});

describe('Sources', () => {
  const neighbor = (document: string, target_id: number, weight: number): Neighbor => ({
    entry: 0,
    store: 'store',
    document,
    position: 0,
    distance: 1,
    weight,
    target: 'word',
    target_id,
    before: '',
    after: '',
  });
  /** A token of which `shares` say how much each document gave. */
  const token = (shares: Record<string, number>): KnnToken => {
    const p_knn = Object.values(shares).reduce((sum, share) => sum + share, 0);
    const voters = Object.entries(shares).map(([name, share]) => neighbor(name, 1, share));
    return { id: 1, text: ' a', p: p_knn, p_lm: 0, p_knn, neighbors: voters };
  };

  it('joins tokens of one document into a span, across a token that another supports a little more', () => {
    const { spans, sources } = sourcesOf([
      token({ a: 0.9 }),
      token({ a: 0.45, b: 0.5 }),
      token({ a: 0.9 }),
    ]);
    expect(spans).toEqual([{ from: 0, to: 3, note: 1 }]);
    expect(sources.map(({ document, tokens }) => [document, tokens])).toEqual([['a', [0, 1, 2]]]);
  });

  it('numbers documents by where the text first draws on them, and names each once', () => {
    const a = token({ a: 0.9 });
    const b = token({ b: 0.9 });
    const { spans } = sourcesOf([b, b, a, a, b, b]);
    expect(spans.map(({ note }) => note)).toEqual([1, 2, 1]);
  });

  it('gives a word to one document, whose name follows the word and its comma', () => {
    const pieces = [
      { ...token({ a: 0.9 }), text: 'hyper' },
      { ...token({ b: 0.9 }), text: 'tens' },
      { ...token({ a: 0.9 }), text: 'ion' },
      { ...token({ b: 0.9 }), text: ',' },
      { ...token({ b: 0.9 }), text: ' edema' },
      { ...token({ b: 0.9 }), text: 's' },
    ];
    expect(wordStarts(pieces)).toEqual([true, false, false, false, true, false]);
    const { spans } = sourcesOf(pieces);
    expect(spans.every(({ from }) => wordStarts(pieces)[from])).toBe(true);
  });

  it('names no source where memory had no part', () => {
    const alone: KnnToken = { id: 1, text: 'a', p: 0.5, p_lm: 0.5, p_knn: 0 };
    const against = { ...token({}), neighbors: [neighbor('a', 2, 0.9)] };
    expect(sourcesOf([alone, against])).toEqual({
      spans: [{ from: 0, to: 2, note: 0 }],
      sources: [],
    });
    expect(sourcesOf([])).toEqual({ spans: [], sources: [] });
  });

  it('chooses no worse than any single document throughout', () => {
    const row = fc.dictionary(
      fc.constantFrom('a', 'b', 'c'),
      fc.double({ min: 0, max: 1, noNaN: true }),
    );
    fc.assert(
      fc.property(fc.array(row, { minLength: 1, maxLength: 12 }), (rows) => {
        const shares = rows.map((shares) => new Map(Object.entries(shares)));
        const value = (path: (string | null)[]): number =>
          path.reduce((sum, document, t) => {
            const isNew = t > 0 && path[t - 1] !== document;
            const own = document === null ? UNSOURCED : (shares[t]!.get(document) ?? 0);
            return sum + own - (isNew ? SWITCH_COST : 0);
          }, 0);
        const best = value(assignDocuments(shares));
        for (const document of [null, 'a', 'b', 'c']) {
          expect(best).toBeGreaterThanOrEqual(value(rows.map(() => document)) - 1e-9);
        }
      }),
    );
  });
});

describe('Voters', () => {
  it('are the documents whose neighbors say the token, by weight, and the nearest of each', () => {
    const told = raw([1, 2, 3, 4], [1, 2, 1, 1], [0, 0, 1, 1]);
    const weights = Float64Array.of(0.3, 0.3, 0.1, 0.3);
    const voters = votersOf(told, weights, 1);
    expect(voters.map(({ document, nearest }) => [document, nearest])).toEqual([
      ['two', 2],
      ['one', 0],
    ]);
    expect(voters[0]!.share).toBeCloseTo(0.4 / 0.7, 12);
    expect(votersOf(told, weights, 9)).toEqual([]);
  });
});

describe('Places, tints and evidence', () => {
  it('gathers neighbors that lie close together in one document', () => {
    const told = {
      ...raw([1, 2, 3, 4], [1, 1, 2, 3], [0, 0, 1, 0]),
      positions: [50, 60, 55, 500],
    };
    expect(placesOf(told, () => true).map((place) => place.neighbors)).toEqual([[0, 1], [2], [3]]);
    expect(placesOf(told, (i) => i !== 0).map((place) => place.neighbors)).toEqual([[1], [2], [3]]);
  });

  it('tints by factors of the probability, alike in both directions', () => {
    expect([1, 1.4, 1.6, 4, 12].map((factor) => movedStep(Math.log(factor)))).toEqual([
      0, 0, 1, 2, 3,
    ]);
    expect(movedStep(-Math.log(4))).toBe(-2);
    expect(movedInWords(logRatio(0.4, 0.1))).toBe('memory made it 4.0 times likelier');
    expect(movedInWords(logRatio(0, 0.1))).toContain('over 100 times less likely');
    expect([0, 0.3, 0.6, 1].map(evidenceStep)).toEqual([0, 1, 2, 3]);
  });

  it('reads what tuning left, and nothing from what is not that', () => {
    expect(readEvidence(null)).toBeUndefined();
    expect(readEvidence({ perplexity: 'low' })).toBeUndefined();
    const curve = [
      [0, 40],
      [0.5, 30],
    ];
    expect(
      readEvidence({
        tokens: 5,
        perplexity: { lm: 40, knnlm: 30 },
        curves: { lambda: curve, temperature: curve, k: 'none' },
      })?.curves,
    ).toEqual({
      lambda: [
        { at: 0, perplexity: 40 },
        { at: 0.5, perplexity: 30 },
      ],
      temperature: expect.anything(),
      k: undefined,
    });
  });
});
