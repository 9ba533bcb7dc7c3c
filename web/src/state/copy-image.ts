/** An inspection as a PNG: the text with its tints and lines, the sources below, in the colors of the page. */
import type { ShownToken } from '../parts/token.tsx';
import { pageColors } from './colors.ts';
import { evidenceStep, movedStep } from './moved.ts';
import type { Span } from './sources.ts';

export interface Picture {
  title: string;
  tokens: readonly ShownToken[];
  spans: readonly Span[];
  /** Lines under the text, as footnotes. */
  notes: readonly string[];
}

/** Pixels, before the screen's own ratio. */
const WIDTH = 760;
const MARGIN = 40;
const LINE = 32;
const NOTE_LINE = 22;

export async function drawInspection(picture: Picture): Promise<Blob> {
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('2d')!;
  const color = pageColors();
  // Laid out once to know the height, then drawn.
  const height = draw(context, picture, color);
  const ratio = 2;
  canvas.width = WIDTH * ratio;
  canvas.height = height * ratio;
  context.scale(ratio, ratio);
  context.fillStyle = color('--paper');
  context.fillRect(0, 0, WIDTH, height);
  draw(context, picture, color);
  return await new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('no image was made'))));
  });
}

function draw(context: CanvasRenderingContext2D, picture: Picture, color: Colors): number {
  context.textBaseline = 'alphabetic';
  context.fillStyle = color('--soft');
  context.font = '600 13px "Inter", sans-serif';
  context.fillText(picture.title, MARGIN, MARGIN);
  let y = drawText(context, picture, color, MARGIN + 40);
  context.font = '13px "Inter", sans-serif';
  for (const note of picture.notes) {
    y += NOTE_LINE;
    context.fillStyle = color('--soft');
    context.fillText(fitted(context, note, WIDTH - 2 * MARGIN), MARGIN, y);
  }
  return y + MARGIN;
}

/** @returns the baseline of the last line */
function drawText(
  context: CanvasRenderingContext2D,
  { tokens, spans }: Picture,
  color: Colors,
  top: number,
): number {
  let [x, y] = [MARGIN, top];
  for (const span of spans) {
    for (let t = span.from; t < span.to; t++) {
      const token = tokens[t]!;
      for (const piece of token.text.split(/(\n)/)) {
        context.font = '20px "Source Serif 4", serif';
        const width = context.measureText(piece).width;
        if (piece === '\n' || x + width > WIDTH - MARGIN) [x, y] = [MARGIN, y + LINE];
        if (piece === '\n') continue;
        const shown = x === MARGIN ? piece.trimStart() : piece;
        drawToken(context, { ...token, text: shown }, color, x, y);
        x += context.measureText(shown).width;
      }
    }
    if (span.note === 0) continue;
    context.font = '600 11px "Inter", sans-serif';
    context.fillStyle = color('--accent');
    context.fillText(String(span.note), x + 1, y - 9);
    x += context.measureText(String(span.note)).width + 3;
  }
  return y + LINE / 2;
}

function drawToken(
  context: CanvasRenderingContext2D,
  token: ShownToken,
  color: Colors,
  x: number,
  y: number,
): void {
  const step = movedStep(token.moved);
  const width = context.measureText(token.text).width;
  if (step !== 0) {
    context.fillStyle = color(step > 0 ? `--up${step}` : `--down${-step}`);
    context.fillRect(x, y - 20, width, 27);
  }
  const line = evidenceStep(token.share);
  if (step < 0 || line > 0) {
    context.fillStyle = color(step < 0 ? '--down-line' : '--up-line');
    if (step < 0) for (let dot = 0; dot < width; dot += 5) context.fillRect(x + dot, y + 4, 2.5, 2);
    else context.fillRect(x, y + 4, width, line);
  }
  context.fillStyle = color(token.isPrompt ? '--soft' : '--ink');
  context.fillText(token.text, x, y);
}

type Colors = (name: string) => string;

function fitted(context: CanvasRenderingContext2D, text: string, width: number): string {
  let shown = text;
  while (shown.length > 1 && context.measureText(shown).width > width) {
    shown = `${shown.slice(0, -2).trimEnd()}…`;
  }
  return shown;
}
