/** All tokens of a text as one strip: up where memory helped, down where it hurt, in nats. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { ShownToken } from '../parts/token.tsx';
import { pageColors, useTheme } from '../state/colors.ts';
import { visibleToken } from '../state/format.ts';
import { movedInWords } from '../state/moved.ts';

/** Nats at which a bar is cut. */
const MOST = 4;
/** Pixels. */
const HEIGHT = 96;

export interface StripProps {
  tokens: readonly ShownToken[];
  selected: number | undefined;
  onSelect: (index: number) => void;
}

export function Strip({ tokens, selected, onSelect }: StripProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = useState(0);
  const [over, setOver] = useState<number>();
  const theme = useTheme();
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(entry!.contentRect.width));
    observer.observe(canvas.current!);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (width > 0) draw(canvas.current!, tokens, width, over ?? selected);
  }, [tokens, width, selected, over, theme]);
  const at = (event: MouseEvent): number =>
    Math.min(tokens.length - 1, Math.floor((event.offsetX / width) * tokens.length));
  const named = over === undefined ? undefined : tokens[over];
  return (
    <figure class="strip">
      <canvas
        ref={canvas}
        role="img"
        aria-label={`How far memory moved each of ${tokens.length} tokens. The text below has the same, token by token.`}
        onMouseMove={(event) => setOver(at(event))}
        onMouseLeave={() => setOver(undefined)}
        onClick={(event) => onSelect(at(event))}
      />
      <figcaption class="soft">
        {named
          ? `${visibleToken(named.text)}: ${movedInWords(named.moved)}`
          : 'Up: helped by memory. Down: hurt. One bar per token, or the mean of several.'}
      </figcaption>
    </figure>
  );
}

function draw(
  canvas: HTMLCanvasElement,
  tokens: readonly ShownToken[],
  width: number,
  marked: number | undefined,
): void {
  const ratio = devicePixelRatio;
  canvas.width = Math.round(width * ratio);
  canvas.height = HEIGHT * ratio;
  const context = canvas.getContext('2d')!;
  const color = pageColors();
  // At most one bar per two pixels: of more tokens a bar is the mean.
  const bars = Math.min(tokens.length, Math.floor(width / 2));
  const step = canvas.width / bars;
  const [up, down] = reach(tokens);
  const middle = (canvas.height * up) / (up + down);
  for (let bar = 0; bar < bars; bar++) {
    const from = Math.floor((bar * tokens.length) / bars);
    const to = Math.max(from + 1, Math.floor(((bar + 1) * tokens.length) / bars));
    let moved = 0;
    for (let t = from; t < to; t++) moved += tokens[t]!.moved / (to - from);
    const isMarked = marked !== undefined && marked >= from && marked < to;
    const height = (Math.max(-down, Math.min(up, moved)) / (up + down)) * canvas.height;
    if (isMarked) {
      context.fillStyle = color('--rule');
      context.fillRect(bar * step, 0, Math.max(step, 2 * ratio), canvas.height);
    }
    context.fillStyle = color(moved > 0 ? '--up-line' : '--down-line');
    context.fillRect(bar * step, middle, Math.max(1, step - ratio * 0.5), -height);
  }
  context.fillStyle = color('--line');
  context.fillRect(0, middle, canvas.width, ratio);
}

/** Nats shown above and below the line: as far as the tokens reach, and a little on either side at least. */
function reach(tokens: readonly ShownToken[]): [up: number, down: number] {
  let [up, down] = [MOST / 4, MOST / 4];
  for (const { moved } of tokens) {
    up = Math.max(up, Math.min(MOST, moved));
    down = Math.max(down, Math.min(MOST, -moved));
  }
  return [up, down];
}
