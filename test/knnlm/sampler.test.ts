import { describe, expect, it } from 'vitest';
import type { SamplingOptions } from '../../dist/knnlm/generation-types.js';
import { argmax, largest, Sampler } from '../../dist/knnlm/sampler.js';
import { StopStrings } from '../../dist/knnlm/stop-strings.js';

const logs = (...p: number[]): Float32Array => Float32Array.from(p, Math.log);
const none = new Set<number>();

/** Share of each token in 4,000 draws. */
function frequencies(p: Float32Array, options: SamplingOptions, seen = none): number[] {
  const sampler = new Sampler({ temperature: 1, seed: 5, ...options });
  const counts = new Array<number>(p.length).fill(0);
  for (let i = 0; i < 4000; i++) counts[sampler.next(p, seen)]!++;
  return counts.map((count) => count / 4000);
}

describe('Sampler', () => {
  it('is greedy by default, the first among equals', () => {
    expect(new Sampler().next(logs(0.2, 0.5, 0.3), none)).toBe(1);
    expect(argmax(Float32Array.of(1, 3, 3))).toBe(1);
  });

  it('draws each token as often as its probability says', () => {
    const drawn = frequencies(logs(0.2, 0.5, 0.3), {});
    expect(drawn[0]).toBeCloseTo(0.2, 1);
    expect(drawn[1]).toBeCloseTo(0.5, 1);
  });

  it('repeats itself with the same seed', () => {
    const draw = (seed: number): number[] => {
      const sampler = new Sampler({ temperature: 1, seed });
      return Array.from({ length: 20 }, () => sampler.next(logs(0.25, 0.25, 0.5), none));
    };
    expect(draw(1)).toEqual(draw(1));
    expect(draw(1)).not.toEqual(draw(2));
  });

  it('sharpens and flattens with the temperature', () => {
    // p^(1/T): 0.2², 0.8² → 0.0588, 0.9412
    expect(frequencies(logs(0.2, 0.8), { temperature: 0.5 })[0]).toBeCloseTo(0.0588, 1.5);
    expect(frequencies(logs(0.2, 0.8), { temperature: 100 })[0]).toBeCloseTo(0.5, 1);
  });

  it('keeps the k most probable with top-k', () => {
    const drawn = frequencies(logs(0.1, 0.4, 0.3, 0.2), { topK: 2 });
    expect(drawn[0]).toBe(0);
    expect(drawn[3]).toBe(0);
    expect(drawn[1]).toBeCloseTo(4 / 7, 1);
  });

  it('keeps the smallest set with enough mass with top-p', () => {
    const drawn = frequencies(logs(0.1, 0.4, 0.3, 0.2), { topP: 0.65 });
    expect(drawn[0]).toBe(0);
    expect(drawn[3]).toBe(0);
    expect(frequencies(logs(0.6, 0.4), { topP: 0.01 })).toEqual([1, 0]);
  });

  it('drops tokens far below the best with min-p', () => {
    const drawn = frequencies(logs(0.05, 0.55, 0.4), { minP: 0.5 });
    expect(drawn[0]).toBe(0);
    expect(drawn[2]).toBeGreaterThan(0.3);
  });

  it('makes seen tokens less likely with a repetition penalty', () => {
    const sampler = new Sampler({ repetitionPenalty: 2 });
    expect(sampler.next(logs(0.6, 0.4), new Set([0]))).toBe(1);
  });

  it('never draws a token of probability zero', () => {
    expect(frequencies(Float32Array.of(Math.log(0.5), -Infinity, Math.log(0.5)), {})[1]).toBe(0);
  });

  it('refuses options outside their range', () => {
    for (const bad of [
      { temperature: -1 },
      { topK: 1.5 },
      { topP: 0 },
      { minP: 2 },
      { seed: 0.5 },
    ]) {
      expect(() => new Sampler(bad)).toThrow(String(Object.values(bad)[0]));
    }
  });
});

it('finds the largest values, largest first', () => {
  expect(largest(Float32Array.of(3, 9, 1, 9, 4), 3)).toEqual([1, 3, 4]);
  expect(largest(Float32Array.of(2, 1), 5)).toEqual([0, 1]);
});

describe('StopStrings', () => {
  const run = (stops: string[], pieces: string[]): string => {
    const filter = new StopStrings(stops);
    const text = pieces.map((piece) => filter.push(piece)).join('');
    return text + filter.end();
  };

  it('cuts before a stop string split over tokens', () => {
    expect(run(['\n\n'], ['one\n', '\ntwo'])).toBe('one');
    expect(run(['END'], ['a', 'E', 'N', 'D', 'b'])).toBe('a');
  });

  it('gives back what only looked like one', () => {
    expect(run(['END'], ['a', 'E', 'N', 'x'])).toBe('aENx');
    expect(run(['END'], ['aEN'])).toBe('aEN');
    expect(run(['aab'], ['a', 'a', 'a', 'b', 'c'])).toBe('a');
  });

  it('takes the earliest of several', () => {
    expect(run(['xyz', 'b'], ['abxyz'])).toBe('a');
  });
});
