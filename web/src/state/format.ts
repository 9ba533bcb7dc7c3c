/** Numbers and pieces of text as they are shown. */

const whole = new Intl.NumberFormat('en-US');
const compact = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 });

export const count = (value: number): string => whole.format(value);
export const shortCount = (value: number): string => compact.format(value);

/** A probability: 34%, 2.1%, 0.03%, <0.01%. */
export function percent(p: number): string {
  if (p === 0) return '0%';
  if (p === Number.POSITIVE_INFINITY) return '∞%';
  if (p >= 0.0995) return `${Math.round(p * 100)}%`;
  if (p >= 0.00995) return `${(p * 100).toFixed(1)}%`;
  return p < 0.0001 ? '<0.01%' : `${(p * 100).toFixed(2)}%`;
}

/** Three significant digits, no exponent for what people read. null is what JSON makes of infinity. */
export function short(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return '∞';
  if (Math.abs(value) >= 1000) return whole.format(Math.round(value));
  return String(Number(value.toPrecision(3)));
}

export function bytes(value: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB'];
  let step = 0;
  for (let rest = value; rest >= 999.5 && step < units.length - 1; rest /= 1000) step++;
  const size = value / 1000 ** step;
  return `${step === 0 || size >= 100 ? Math.round(size) : Number(size.toPrecision(2))} ${units[step]}`;
}

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A token that can be told apart from its surroundings: ␣ for a space alone, ↵ for a line break, ∎ for the end (and for a part of a character). */
export function visibleToken(text: string): string {
  if (text === '') return '∎';
  const shown = text.replaceAll('\n', '↵').replaceAll('\t', '⇥');
  return shown.trim() === '' ? shown.replaceAll(' ', '␣') : shown.trim();
}
