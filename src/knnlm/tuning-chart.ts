/** Perplexity over λ and T as an SVG picture that needs nothing beside it. */
import type { Tuning } from './tune.ts';

/** Pixels. */
const CELL = { width: 26, height: 16 };
const MARGIN = { left: 64, top: 56, right: 150, bottom: 52 };
const LEGEND_STEPS = 6;
/** From the best perplexity (dark) to the model's own (pale); what is worse than the model alone is red. */
const BETTER = [
  [8, 48, 107],
  [33, 113, 181],
  [107, 174, 214],
  [198, 219, 239],
  [247, 251, 255],
] as const;
const WORSE = [
  [254, 224, 210],
  [251, 106, 74],
  [165, 15, 21],
] as const;

/** The picture's source: λ upwards, T to the right (each step √2), the chosen setting marked. */
export function tuningChart({ settings, perplexity, curves }: Tuning): string {
  const { lambdas, temperatures, perplexity: cells } = curves.surface;
  const plot = { width: temperatures.length * CELL.width, height: lambdas.length * CELL.height };
  const best = Math.min(perplexity.knnlm, ...cells.flat());
  const color = (value: number): string => shade(value, best, perplexity.lm);
  const x = (column: number): number => MARGIN.left + column * CELL.width;
  const y = (row: number): number => MARGIN.top + plot.height - (row + 1) * CELL.height;
  const rects = cells.flatMap((row, column) =>
    row.map(
      (value, at) =>
        `<rect x="${x(column)}" y="${y(at)}" width="${CELL.width}" height="${CELL.height}" fill="${color(value)}">` +
        `<title>λ ${lambdas[at]}, T ${short(temperatures[column]!)}: perplexity ${short(value)}</title></rect>`,
    ),
  );
  const bottom = MARGIN.top + plot.height;
  const ticks = [
    ...temperatures.flatMap((temperature, column) =>
      column % 4 === 0
        ? [text(x(column) + CELL.width / 2, bottom + 18, short(temperature), 'middle')]
        : [],
    ),
    ...lambdas.flatMap((lambda, row) =>
      row % 2 === 0
        ? [text(MARGIN.left - 8, y(row) + CELL.height / 2 + 4, lambda.toFixed(1), 'end')]
        : [],
    ),
    text(MARGIN.left + plot.width / 2, bottom + 40, 'temperature T (squared distance)', 'middle'),
    text(18, MARGIN.top + plot.height / 2, 'λ', 'middle'),
  ];
  const chosen = {
    x: MARGIN.left + columnOf(settings.temperature, temperatures) * CELL.width + CELL.width / 2,
    y: bottom - (settings.lambda / (lambdas[1]! - lambdas[0]!) + 0.5) * CELL.height,
  };
  const width = MARGIN.left + plot.width + MARGIN.right;
  const height = bottom + MARGIN.bottom;
  const summary =
    `k ${settings.k}, λ ${short(settings.lambda)}, T ${short(settings.temperature)}: ` +
    `perplexity ${short(perplexity.knnlm)}; the model alone ${short(perplexity.lm)}`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
      `font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="Perplexity over λ and T. ${summary}">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${MARGIN.left}" y="24" font-size="15" font-weight="600" fill="#111">Perplexity over λ and T</text>`,
    text(MARGIN.left, 43, summary, 'start'),
    ...rects,
    `<circle cx="${chosen.x.toFixed(1)}" cy="${chosen.y.toFixed(1)}" r="6" fill="none" stroke="#fff" stroke-width="3"/>`,
    `<circle cx="${chosen.x.toFixed(1)}" cy="${chosen.y.toFixed(1)}" r="6" fill="none" stroke="#111" stroke-width="1.5"/>`,
    ...ticks,
    ...legend(MARGIN.left + plot.width + 24, best, perplexity.lm),
    '</svg>\n',
  ].join('\n');
}

/** Where a temperature lies on the geometric axis, in columns; may be a fraction. */
export function columnOf(temperature: number, temperatures: readonly number[]): number {
  return Math.log(temperature / temperatures[0]!) / Math.log(temperatures[1]! / temperatures[0]!);
}

function legend(left: number, best: number, lm: number): string[] {
  const values = Array.from(
    { length: LEGEND_STEPS },
    (_, i) => best * (lm / best) ** (i / (LEGEND_STEPS - 1)),
  );
  const names = values.map((value, i) => (i === LEGEND_STEPS - 1 ? 'model alone' : short(value)));
  return [...values, lm * 1.5, lm * 3].flatMap((value, i) => {
    const top = MARGIN.top + i * 22;
    const name = names[i] ?? `${short(value)} (worse)`;
    return [
      `<rect x="${left}" y="${top}" width="18" height="18" fill="${shade(value, best, lm)}" stroke="#ccc"/>`,
      text(left + 26, top + 13, name, 'start'),
    ];
  });
}

/** Blue by how much of the way from the best to the model alone is lost, red by how far it is worse, up to 3 times. */
function shade(value: number, best: number, lm: number): string {
  if (value <= lm) {
    const range = Math.log(lm / best);
    return mix(BETTER, range > 0 ? Math.log(value / best) / range : 1);
  }
  return mix(WORSE, Math.log(value / lm) / Math.log(3));
}

function mix(stops: readonly (readonly number[])[], share: number): string {
  const at = Math.max(0, Math.min(1, share)) * (stops.length - 1);
  const from = stops[Math.floor(at)]!;
  const to = stops[Math.ceil(at)]!;
  const part = at - Math.floor(at);
  return `rgb(${from.map((c, i) => Math.round(c + part * (to[i]! - c))).join(',')})`;
}

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end'): string {
  return `<text x="${x}" y="${y}" text-anchor="${anchor}" fill="#333">${content}</text>`;
}

function short(value: number): string {
  return String(Number(value.toPrecision(3)));
}
