/**
 * Which windows of a text its neighbors are cached for. A text within the budget is taken whole; of a longer one every
 * s-th window is kept, s doubling as the text goes on, so that the sample is spread evenly and memory is bounded
 * however long the text is.
 */
import type { IdRange } from '../math/vectors.ts';
import type { ReadText } from './read-tokens.ts';
import { planWindows, type WindowPlan } from './windows.ts';

/** A window and which of its positions count. Shapes: T positions. */
export interface TuningWindow {
  /** (T) */
  inputs: Int32Array;
  /** (T) */
  targets: Int32Array;
  /** Positions whose neighbors are wanted: one after another. */
  positions: Int32Array;
  /** Number of the document, from 0. */
  document: number;
  /** Of a pair: its source. */
  sourceIds?: Int32Array | undefined;
  /** Position in the document of the window's first input. */
  start: number;
  /** Entries that must not be retrieved for this window. */
  exclude?: readonly IdRange[];
}

export class TuningWindows {
  readonly #plan: WindowPlan;
  readonly #most: number;
  #kept: TuningWindow[] = [];
  #keptTargets = 0;
  #every = 1;
  #offered = 0;
  /** Targets offered, kept or not. */
  targets = 0;
  documents = 0;

  /** @param most targets kept at most */
  constructor(plan: WindowPlan, most: number) {
    this.#plan = plan;
    this.#most = most;
  }

  add({ inputs, targets, sourceIds }: ReadText): void {
    const document = this.documents++;
    this.targets += targets.length;
    for (const { start, length, seen } of planWindows(targets.length, this.#plan)) {
      if (this.#offered++ % this.#every !== 0) continue;
      const positions = Int32Array.from({ length: length - seen }, (_, i) => seen + i);
      this.#keptTargets += positions.length;
      this.#kept.push({
        inputs: inputs.slice(start, start + length),
        targets: targets.slice(start, start + length),
        positions,
        document,
        sourceIds,
        start,
      });
      while (this.#keptTargets > 2 * this.#most && this.#kept.length > 1) this.#thin();
    }
  }

  /** The sample, in the text's order; its last window is cut where the budget ends. */
  take(): TuningWindow[] {
    const surplus = this.#keptTargets / this.#most;
    const taken: TuningWindow[] = [];
    let left = this.#most;
    // Evenly spaced among those kept: at most every second is left out here.
    for (let i = 0, next = 0; i < this.#kept.length && left > 0; i++) {
      if (surplus > 1 && i < Math.floor(next)) continue;
      next += Math.max(1, surplus);
      const window = this.#kept[i]!;
      const positions = window.positions.subarray(0, left);
      left -= positions.length;
      taken.push({ ...window, positions });
    }
    return taken;
  }

  #thin(): void {
    this.#kept = this.#kept.filter((_, i) => i % 2 === 0);
    this.#keptTargets = this.#kept.reduce((sum, { positions }) => sum + positions.length, 0);
    this.#every *= 2;
  }
}
