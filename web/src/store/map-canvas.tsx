/** The points of the map, drawn on a canvas: by pointer the nearest is picked, by arrow keys the next in a direction. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { MapReply, ProjectReply } from '../../../src/server/wire.ts';
import { pageColors, useTheme } from '../state/colors.ts';
import { visibleToken } from '../state/format.ts';
import { COLORS, type MapGroups } from './map-groups.ts';

/** Pixels. */
const MARGIN = 18;
/** Within which a pointer finds a point. */
const REACH = 24;

export interface MapCanvasProps {
  map: MapReply;
  groups: MapGroups;
  query: ProjectReply | undefined;
  point: number | undefined;
  /** A group that stands out. */
  lit: number | undefined;
  onPoint: (point: number | undefined) => void;
}

export function MapCanvas({ map, groups, query, point, lit, onPoint }: MapCanvasProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [size, setSize] = useState({ width: 0, height: 0 });
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setSize(entry!.contentRect));
    observer.observe(canvas.current!);
    return () => observer.disconnect();
  }, []);
  const theme = useTheme();
  const place = placing(map, query, size);
  useEffect(() => {
    if (size.width > 0) draw(canvas.current!, { map, groups, query, point, lit, place, size });
  }, [map, groups, query, point, lit, size, theme]);
  const nearest = (event: MouseEvent): number | undefined => {
    let [best, least] = [-1, REACH ** 2];
    for (let i = 0; i < map.x.length; i++) {
      const [x, y] = place(map.x[i]!, map.y[i]!);
      const distance = (x - event.offsetX) ** 2 + (y - event.offsetY) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return best < 0 ? undefined : best;
  };
  const move = (event: KeyboardEvent): void => {
    const direction = DIRECTIONS[event.key];
    if (!direction) return;
    event.preventDefault();
    onPoint(nextPoint(map, point, direction, place));
  };
  return (
    <canvas
      ref={canvas}
      class="map-canvas"
      role="application"
      tabIndex={0}
      aria-label={`Map of ${map.x.length} keys. Arrow keys go from key to key.${
        point === undefined ? '' : ` ${visibleToken(map.targets[point]!)}`
      }`}
      onMouseMove={(event) => {
        const found = nearest(event);
        if (found !== undefined && found !== point) onPoint(found);
      }}
      onKeyDown={move}
    />
  );
}

interface Size {
  width: number;
  height: number;
}

type Place = (x: number, y: number) => readonly [number, number];

/** Data to pixels, both axes at one scale so that distances look as they are. */
function placing(map: MapReply, query: ProjectReply | undefined, { width, height }: Size): Place {
  const xs = query ? [...map.x, query.x] : map.x;
  const ys = query ? [...map.y, query.y] : map.y;
  const range = (values: readonly number[]): [number, number] => [
    values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
    values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
  ];
  const [[left, right], [low, high]] = [range(xs), range(ys)];
  const scale = Math.min(
    (width - 2 * MARGIN) / (right - left || 1),
    (height - 2 * MARGIN) / (high - low || 1),
  );
  const middle = [(left + right) / 2, (low + high) / 2] as const;
  return (x, y) => [width / 2 + (x - middle[0]) * scale, height / 2 - (y - middle[1]) * scale];
}

interface Drawing extends Omit<MapCanvasProps, 'onPoint'> {
  place: Place;
  size: Size;
}

function draw(
  canvas: HTMLCanvasElement,
  { map, groups, query, point, lit, place, size }: Drawing,
): void {
  const ratio = devicePixelRatio;
  canvas.width = Math.round(size.width * ratio);
  canvas.height = Math.round(size.height * ratio);
  const context = canvas.getContext('2d')!;
  context.scale(ratio, ratio);
  const color = pageColors();
  const dot = (x: number, y: number, radius: number): void => {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  };
  // The many others first, so that the named ones lie on top.
  for (let group = COLORS; group >= 0; group--) {
    context.fillStyle = color(group === COLORS ? '--mark-rest' : `--mark${group}`);
    context.globalAlpha = group === COLORS ? 0.45 : 0.85;
    if (lit !== undefined && lit !== group) context.globalAlpha = 0.12;
    for (let i = 0; i < map.x.length; i++) {
      if (groups.of[i] === group) dot(...place(map.x[i]!, map.y[i]!), group === COLORS ? 1.8 : 2.8);
    }
  }
  context.globalAlpha = 1;
  context.strokeStyle = color('--ink');
  context.lineWidth = 1.5;
  if (point !== undefined) {
    context.beginPath();
    context.arc(...place(map.x[point]!, map.y[point]!), 7, 0, 2 * Math.PI);
    context.stroke();
  }
  if (query) {
    const [x, y] = place(query.x, query.y);
    context.lineWidth = 2.5;
    context.beginPath();
    context.moveTo(x - 11, y);
    context.lineTo(x + 11, y);
    context.moveTo(x, y - 11);
    context.lineTo(x, y + 11);
    context.stroke();
  }
}

const DIRECTIONS: Record<string, readonly [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** The nearest point that lies mostly in a direction; the same one where there is none. */
function nextPoint(
  map: MapReply,
  point: number | undefined,
  [dx, dy]: readonly [number, number],
  place: Place,
): number {
  if (point === undefined) return 0;
  const [fromX, fromY] = place(map.x[point]!, map.y[point]!);
  let [best, least] = [point, Number.POSITIVE_INFINITY];
  for (let i = 0; i < map.x.length; i++) {
    const [x, y] = place(map.x[i]!, map.y[i]!);
    const along = (x - fromX) * dx + (y - fromY) * dy;
    const across = Math.abs((x - fromX) * dy) + Math.abs((y - fromY) * dx);
    if (along <= 1 || across > along) continue;
    const cost = along + 2 * across;
    if (cost < least) [best, least] = [i, cost];
  }
  return best;
}
