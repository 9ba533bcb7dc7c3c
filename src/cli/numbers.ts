/** Numbers as people read them. One place, so that every command writes them alike. */
import type { UsedSettings } from '../knnlm/types.ts';
import { oneLine } from './text.ts';

/** 1234567 → 1,234,567 */
export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** `1 document`, `2 documents` */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? '' : 's'}`;
}

/** Bytes in powers of 1000, as disks are sold: 1.2 MB. */
export function bytes(value: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];
  let unit = 0;
  let scaled = value;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit++;
  }
  return `${unit > 0 && scaled < 99.95 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`;
}

/** 0.42 s, 12 s, 3 min 05 s, 2 h 10 min */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(seconds < 0.995 ? 2 : 1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, '0')} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

/** 0.4213 → 42.1% */
export function percent(share: number): string {
  return `${(share * 100).toFixed(1)}%`;
}

/** A mean with its standard error: 0.0046 ± 0.0006 nats. */
export function nats(mean: number, standardError?: number): string {
  const spread = standardError === undefined ? '' : ` ± ${standardError.toFixed(4)}`;
  return `${mean.toFixed(4)}${spread} nats`;
}

/** A relative change with its sign: −31.2%, +4.0%. */
export function change(ratio: number): string {
  const value = (ratio - 1) * 100;
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(1)}%`;
}

/** A probability to two or three digits; below 1e-4 in powers of ten, and what is next to nothing as such. */
export function probability(p: number): string {
  if (p === 0) return '0';
  if (p < 1e-9) return '<1e-9';
  if (p < 1e-4) return p.toExponential(0);
  return p < 0.0995 ? p.toFixed(p < 0.00995 ? 4 : 3) : p.toFixed(2);
}

/** A perplexity or distance: as many decimals as its size deserves. */
export function measure(value: number): string {
  if (!Number.isFinite(value)) return '∞';
  return value < 1000 ? value.toFixed(value < 10 ? 3 : 2) : count(value);
}

/**
 * k 1024, λ 0.7, T 8; with a gate λ and T are not used: k 1024, gate, cache, pointers; λ by store: k 64, λ notes 0.2 letters
 * 0.4, T 8; a cache without a gate has numbers of its own: k 1024, λ 0.7, T 8, cache λ 0.1 T 4
 */
export function settingsText(settings: Omit<UsedSettings, 'gate'> & { gate?: unknown }): string {
  const short = (value: number) => String(Number(value.toPrecision(4)));
  const { k, lambda, lambdas, temperature, gate, cache } = settings;
  const own =
    lambdas && Object.entries(lambdas).map(([name, share]) => `${oneLine(name)} ${short(share)}`);
  return [
    `k ${k}`,
    ...(gate ? ['gate'] : [`λ ${own?.join(' ') ?? short(lambda)}`, `T ${short(temperature)}`]),
    ...(cache
      ? [gate ? 'cache' : `cache λ ${short(cache.lambda)} T ${short(cache.temperature)}`]
      : []),
    ...partsText(settings),
  ].join(', ');
}

/** What is used beside the neighbors, and how they are searched. */
export function partsText({
  pointers,
  minPointers,
  adaptive,
  effort,
  semantics,
}: Partial<Omit<UsedSettings, 'gate'>>): string[] {
  return [
    ...(pointers ? ['pointers'] : []),
    ...(minPointers !== undefined ? [`searches below ${count(minPointers)} pointers`] : []),
    ...(adaptive !== undefined ? [`about ${Math.round(adaptive * 100)}% of searches skipped`] : []),
    ...(effort !== undefined ? [`${Number(effort.toPrecision(4))} of the usual lists`] : []),
    ...(semantics !== undefined ? [`arithmetic of ${semantics}`] : []),
  ];
}
