/**
 * Charts as SVG without a browser: Observable Plot draws into linkedom's document. Colors are variables, so that one picture
 * suits light and dark; both libraries are loaded when the first chart is drawn.
 */
import type { ResultRow } from './types.ts';

/** A point with its interval per row. */
export interface RangeChart {
  kind: 'range';
  name: string;
  title: string;
  rows: readonly ResultRow[];
}

export interface LineChart {
  kind: 'line';
  name: string;
  title: string;
  x: { label: string; log?: boolean };
  y: { label: string };
  series: readonly {
    name: string;
    points: readonly { x: number; y: number; interval?: [number, number] }[];
    /** An x to mark, such as the one chosen. */
    mark?: number;
  }[];
  reference?: { name: string; y: number };
}

type Plot = typeof import('@observablehq/plot');

const WIDTH = 640;
const ROW_HEIGHT = 30;
const COLORS = ['var(--first)', 'var(--second)'];
/** Longest y label, in characters, before it is cut into lines. */
const LABEL_CHARACTERS = 30;

const STYLE =
  '.chart{--ink:#24292f;--quiet:#57606a;--first:#0b62c4;--second:#b3530a;--paper:#fff;color:var(--ink);' +
  'background:none;font:13px system-ui,sans-serif}' +
  '@media (prefers-color-scheme:dark){.chart{--ink:#e6edf3;--quiet:#9aa4af;--first:#6cb0ff;--second:#f0a35e;--paper:#0d1117}}';

/** @returns the picture's source, whole: it can stand in a page or in a file of its own */
export async function drawChart(chart: RangeChart | LineChart): Promise<string> {
  const [Plot, { parseHTML }] = await Promise.all([
    import('@observablehq/plot'),
    import('linkedom'),
  ]);
  const { document } = parseHTML('<!doctype html><html><body></body></html>');
  const drawn = chart.kind === 'range' ? rangePlot(Plot, chart) : linePlot(Plot, chart);
  const svg = Plot.plot({ ...drawn, document, width: WIDTH });
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  svg.setAttribute('class', `${svg.getAttribute('class') ?? ''} chart`.trim());
  svg.setAttribute('role', 'img');
  svg.setAttribute('aria-label', chart.title);
  const style = document.createElement('style');
  style.textContent = STYLE;
  svg.append(style);
  return svg.outerHTML;
}

function rangePlot(Plot: Plot, { rows }: RangeChart): import('@observablehq/plot').PlotOptions {
  const data = rows.map((row) => ({ ...row, name: wrapped(row.name) }));
  const label = (row: ResultRow): string => row.perplexity.toPrecision(4);
  const color = (row: ResultRow): string =>
    row.lambda === undefined && row.name.startsWith('model') ? 'var(--quiet)' : 'var(--first)';
  return {
    height: 54 + data.length * ROW_HEIGHT,
    marginLeft: 225,
    marginRight: 60,
    marginTop: 8,
    x: {
      label: 'perplexity',
      labelAnchor: 'center',
      labelOffset: 34,
      grid: true,
      nice: true,
      ticks: 6,
    },
    marginBottom: 42,
    y: { label: null, domain: data.map(({ name }) => name), tickSize: 0 },
    marks: [
      Plot.ruleY(data, {
        y: 'name',
        x1: (row: ResultRow) => row.interval[0],
        x2: (row: ResultRow) => row.interval[1],
        stroke: color,
        strokeWidth: 2,
      }),
      Plot.dot(data, { y: 'name', x: 'perplexity', fill: color, r: 4.5 }),
      Plot.text(data, {
        y: 'name',
        x: (row: ResultRow) => row.interval[1],
        text: label,
        dx: 8,
        textAnchor: 'start',
        fill: 'var(--ink)',
      }),
    ],
  };
}

function linePlot(Plot: Plot, chart: LineChart): import('@observablehq/plot').PlotOptions {
  const { series, reference, x, y } = chart;
  const marks: import('@observablehq/plot').Markish[] = [];
  if (x.log) {
    // Ticks at the points: the default ones of a logarithmic axis leave most of them unnamed.
    const ticks = series[0]!.points.map((p) => p.x);
    const axis = { label: x.label, labelAnchor: 'center', labelOffset: 34 } as const;
    marks.push(Plot.axisX(ticks, { ...axis, text: (tick: number) => short(tick) }));
  }
  if (reference) {
    marks.push(
      Plot.ruleY([reference.y], { stroke: 'var(--quiet)', strokeDasharray: '4 3' }),
      Plot.text([reference], {
        y: 'y',
        text: 'name',
        frameAnchor: 'right',
        textAnchor: 'end',
        dy: -8,
        fill: 'var(--quiet)',
      }),
    );
  }
  series.forEach(({ name, points, mark }, i) => {
    const color = COLORS[i % COLORS.length]!;
    const data = [...points];
    marks.push(
      Plot.ruleX(
        data.filter(({ interval }) => interval),
        { x: 'x', y1: (p) => p.interval[0], y2: (p) => p.interval[1], stroke: color },
      ),
      Plot.line(data, { x: 'x', y: 'y', stroke: color, strokeWidth: 2 }),
      Plot.dot(mark === undefined ? data : [nearest(data, mark)], {
        x: 'x',
        y: 'y',
        fill: color,
        r: mark === undefined ? 3 : 5,
      }),
    );
    if (series.length > 1) {
      marks.push(
        Plot.text([{ name }], {
          frameAnchor: 'top-left',
          text: 'name',
          dx: 10,
          dy: 6 + 18 * i,
          fill: color,
          fontWeight: 600,
        }),
      );
    }
  });
  return {
    height: 300,
    marginLeft: 56,
    marginBottom: 40,
    marginTop: 26,
    x: {
      label: x.label,
      type: x.log ? 'log' : 'linear',
      labelAnchor: 'center',
      labelOffset: 34,
      ...(x.log && { axis: null }),
    },
    y: { label: y.label, grid: true, nice: true },
    marks,
  };
}

function nearest<P extends { x: number }>(points: readonly P[], x: number): P {
  return points.reduce((a, b) => (Math.abs(b.x - x) < Math.abs(a.x - x) ? b : a));
}

function short(value: number): string {
  return value >= 10_000 ? `${Math.round(value / 1000)}k` : String(value);
}

function wrapped(name: string): string {
  if (name.length <= LABEL_CHARACTERS) return name;
  const cut = name.lastIndexOf(' ', LABEL_CHARACTERS);
  return cut > 0 ? `${name.slice(0, cut)}\n${name.slice(cut + 1)}` : name;
}
