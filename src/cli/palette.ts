/**
 * Colors for how much the memory moved a token's probability: warm where it raised it, cold where it lowered it, the
 * terminal's own color where it hardly did. Middle tones, which read on light and on dark backgrounds.
 */
export type Paint = (text: string) => string;

/** One shade: from so many bits of |log2(p / pLm)| on. */
interface Shade {
  bits: number;
  rgb: readonly [number, number, number];
  /** Of the 256 colors. */
  indexed: number;
  /** SGR parameters among the sixteen. */
  basic: string;
}

/** Doublings of probability; weakest first. */
const RAISED: readonly Shade[] = [
  { bits: 0.5, rgb: [176, 148, 74], indexed: 143, basic: '33' },
  { bits: 1, rgb: [204, 142, 30], indexed: 172, basic: '33' },
  { bits: 2, rgb: [226, 114, 22], indexed: 166, basic: '1;33' },
  { bits: 4, rgb: [222, 62, 42], indexed: 160, basic: '1;31' },
];

/** The mixture keeps (1 − λ) of the model's probability, so two shades are enough. */
const LOWERED: readonly Shade[] = [
  { bits: 0.5, rgb: [96, 144, 196], indexed: 67, basic: '36' },
  { bits: 1.5, rgb: [48, 110, 214], indexed: 26, basic: '34' },
];

const plain: Paint = (text) => text;

/** How many bits the memory added to a token's log-probability; infinite where the model alone gave it none. */
export function memoryBits({ p, pLm }: { p: number; pLm: number }): number {
  return p === pLm ? 0 : Math.log2(p / pLm);
}

/** The color of a token that the memory moved by so many bits. @param depth bits of color that the terminal has */
export function paintFor(bits: number, depth: number): Paint {
  if (depth <= 1) return plain;
  const shade = (bits > 0 ? RAISED : LOWERED).findLast((each) => Math.abs(bits) >= each.bits);
  if (!shade) return plain;
  const code =
    depth >= 24
      ? `38;2;${shade.rgb.join(';')}`
      : depth >= 8
        ? `38;5;${shade.indexed}`
        : shade.basic;
  return (text) => `\x1b[${code}m${text}\x1b[0m`;
}

/** `×1.4 ×2 ×4 ×16 more probable through the memory · less`, each in its color. Empty without colors. */
export function legend(depth: number): string {
  if (depth <= 1) return '';
  const steps = RAISED.map(({ bits }) =>
    paintFor(bits, depth)(`×${Number((2 ** bits).toPrecision(2))}`),
  );
  return `${steps.join(' ')} more probable through the memory · ${paintFor(-LOWERED[0]!.bits, depth)('less probable')}`;
}
