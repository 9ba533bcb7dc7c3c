import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Codec, parseCodec, productShape } from '../../dist/indexes/ivf/codec.js';
import { packList, unpackList } from '../../dist/indexes/ivf/product-list.js';
import { productRotation } from '../../dist/indexes/ivf/product-rotation.js';

const codecs: Codec[] = [
  { name: 'pq8', subquantizers: 8, bits: 8 },
  { name: 'pq8x4', subquantizers: 8, bits: 4 },
];

describe.each(codecs)('a list of $name', (codec) => {
  const rows = fc
    .uniqueArray(fc.integer({ min: 0, max: 2 ** 31 - 1 }), { maxLength: 70 })
    .chain((ids) =>
      fc.record({
        ids: fc.constant(Uint32Array.from(ids).sort()),
        biases: fc
          .array(fc.double({ min: -1e3, max: 1e3, noNaN: true }), {
            minLength: ids.length,
            maxLength: ids.length,
          })
          .map((biases) => Float32Array.from(biases)),
        codes: fc.uint8Array({
          minLength: ids.length * 8,
          maxLength: ids.length * 8,
          max: 2 ** codec.bits - 1,
        }),
      }),
    );

  it('gives its ids and codes back, and its biases to half a step of their range', () => {
    fc.assert(
      fc.property(rows, (list) => {
        const back = unpackList(packList(list, codec), list.ids.length, codec);
        expect(back.ids).toEqual(list.ids);
        expect(back.codes).toEqual(list.codes);
        const range = Math.max(...list.biases) - Math.min(...list.biases);
        for (const [i, bias] of list.biases.entries()) {
          expect(Math.abs(back.biases[i]! - bias)).toBeLessThanOrEqual(range / 510 + 1e-3);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('comes out the same when it is packed again', () => {
    fc.assert(
      fc.property(rows, (list) => {
        const once = unpackList(packList(list, codec), list.ids.length, codec);
        const twice = unpackList(packList(once, codec), list.ids.length, codec);
        expect(twice).toEqual(once);
      }),
      { numRuns: 30 },
    );
  });
});

describe('parseCodec', () => {
  it('reads names', () => {
    expect(parseCodec('sq8', 256)).toBeUndefined();
    expect(parseCodec('pq32', 256)).toEqual({ name: 'pq32', subquantizers: 32, bits: 8 });
    expect(parseCodec('pq64x4', 256)).toEqual({ name: 'pq64x4', subquantizers: 64, bits: 4 });
    expect(productShape({ name: 'pq48', subquantizers: 48, bits: 8 }, 256)).toEqual({
      width: 288,
      part: 6,
      words: 256,
    });
  });

  it.each(['', 'pq', 'pq0', 'pq3', 'pq33', 'pq260', 'pq32x8', 'PQ32', 'int4', 'pq32 '])(
    'refuses %j',
    (name) => {
      expect(() => parseCodec(name, 256)).toThrow(`not ${JSON.stringify(name)}`);
    },
  );
});

it('rotates by orthonormal rows that deal out the variances evenly', () => {
  const dim = 16;
  const padded = 16;
  const products = new Float64Array(padded * padded);
  for (let i = 0; i < dim; i++) products[i * padded + i] = 2 ** (8 - i);
  const rotation = productRotation(products, { dim, padded }, { width: 16, part: 4, words: 16 });
  const logs = [0, 0, 0, 0];
  for (let r = 0; r < 16; r++) {
    const row = rotation.subarray(r * padded, (r + 1) * padded);
    expect(row.reduce((sum, x) => sum + x * x, 0)).toBeCloseTo(1, 6);
    logs[r >> 2]! += 8 - row.findIndex((x) => Math.abs(x) > 0.5);
  }
  expect(Math.max(...logs) - Math.min(...logs)).toBeLessThanOrEqual(4);
});
