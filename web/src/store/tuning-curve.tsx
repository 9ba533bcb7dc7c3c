/** Perplexity along one setting, with the point that was chosen. */
import { short } from '../state/format.ts';
import type { CurvePoint } from './evidence.ts';

export interface TuningCurveProps {
  title: string;
  points: readonly CurvePoint[];
  chosen: number;
  /** Perplexity of the model alone: a line across. */
  alone: number;
  isLogarithmic?: boolean;
}

/** Units of the drawing. */
const BOX = { width: 360, height: 170, left: 44, right: 14, top: 12, bottom: 28 };

export function TuningCurve({ title, points, chosen, alone, isLogarithmic }: TuningCurveProps) {
  const scale = (value: number): number => (isLogarithmic ? Math.log(value) : value);
  const [first, last] = [scale(points[0]!.at), scale(points.at(-1)!.at)];
  const least = Math.min(...points.map(({ perplexity }) => perplexity));
  // What is far worse than the model alone is cut off: the interesting part lies below it.
  const most = Math.max(alone, Math.min(alone * 1.25, ...points.map((p) => p.perplexity))) * 1.02;
  const x = (value: number): number =>
    BOX.left + ((scale(value) - first) / (last - first)) * (BOX.width - BOX.left - BOX.right);
  const y = (value: number): number =>
    BOX.top +
    ((most - Math.min(value, most)) / (most - least * 0.98)) * (BOX.height - BOX.top - BOX.bottom);
  const line = points.map((p) => `${x(p.at).toFixed(1)},${y(p.perplexity).toFixed(1)}`).join(' ');
  const best = points.reduce((a, b) =>
    Math.abs(scale(b.at) - scale(chosen)) < Math.abs(scale(a.at) - scale(chosen)) ? b : a,
  );
  const words = `Perplexity by ${title}: ${short(best.perplexity)} at the chosen ${short(chosen)}, ${short(alone)} without memory.`;
  const ticks = [points[0]!.at, points[Math.floor(points.length / 2)]!.at, points.at(-1)!.at];
  return (
    <figure class="curve">
      <figcaption class="label">{title}</figcaption>
      <svg viewBox={`0 0 ${BOX.width} ${BOX.height}`} role="img" aria-label={words}>
        <line class="alone" x1={BOX.left} x2={BOX.width - BOX.right} y1={y(alone)} y2={y(alone)} />
        <text class="tick" x={BOX.left - 6} y={y(alone) + 4} text-anchor="end">
          {short(alone)}
        </text>
        <text class="tick" x={BOX.left - 6} y={y(least) + 4} text-anchor="end">
          {short(least)}
        </text>
        {ticks.map((tick) => (
          <text key={tick} class="tick" x={x(tick)} y={BOX.height - 8} text-anchor="middle">
            {short(tick)}
          </text>
        ))}
        <polyline class="line" points={line} />
        <circle class="chosen" cx={x(chosen)} cy={y(best.perplexity)} r="5" />
      </svg>
    </figure>
  );
}
