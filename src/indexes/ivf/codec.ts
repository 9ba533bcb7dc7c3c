/**
 * How the rows of a list are coded, by name. `sq8`: 8 bits per dimension. `pq32`: a product code of 32 sub-quantizers of 256
 * words each, so 32 bytes; `pq64x4`: of 64 of 16 words, 4 bits each, so 32 bytes too.
 */
import { KnnLMError } from '../../errors.ts';

/** A product code (Jégou et al. 2011). Its header names it; without one, codes are `sq8`. */
export interface Codec {
  name: string;
  /** M */
  subquantizers: number;
  /** Per sub-quantizer. */
  bits: 4 | 8;
}

/** What is taken where keys of width d are dropped: about 38 bytes per entry, ids, values and documents included. */
export const keylessCodes = (dim: number): string => `pq${Math.min(32, 4 * Math.floor(dim / 4))}`;

/**
 * @param dim d
 * @returns undefined for `sq8`. Errors: `INVALID_ARGUMENT`
 */
export function parseCodec(name: string, dim: number): Codec | undefined {
  if (name === 'sq8') return undefined;
  const [, digits, four] = /^pq(\d{1,4})(x4)?$/.exec(name) ?? [];
  const subquantizers = Number(digits);
  const fits = subquantizers >= 4 && subquantizers <= dim && subquantizers % 4 === 0;
  // Sums of 4-bit look-ups are 16 bits wide, and each look-up 8.
  const most = four ? 256 : 4096;
  if (!digits || !fits || subquantizers > most) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `codes must be sq8, or pq and how many sub-quantizers, a multiple of 4 from 4 to the keys' width (${dim}), such as pq32, or pq32x4 for 4 bits each; not ${JSON.stringify(name)}.`,
    );
  }
  return { name, subquantizers, bits: four ? 4 : 8 };
}

/** Sizes of a product code over keys of width d. */
export interface ProductShape {
  /** Dimensions of a rotated key: a multiple of M, d or more. */
  width: number;
  /** Dimensions of a sub-vector. */
  part: number;
  /** Words of a codebook. */
  words: number;
}

export function productShape({ subquantizers, bits }: Codec, dim: number): ProductShape {
  const part = Math.ceil(dim / subquantizers);
  return { width: part * subquantizers, part, words: 2 ** bits };
}
