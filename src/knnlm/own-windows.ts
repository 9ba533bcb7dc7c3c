/**
 * Targets sampled from a store's own documents, each to be searched with its own document left out: they stand in for text that
 * was not stored. They lie in runs, in which pointers live as long as in any text, and with the text before them, which a
 * cache would remember.
 */
import type { DocumentRecord } from '../datastore/types.ts';
import { Breather } from '../math/breather.ts';
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import type { Entries } from './entries.ts';
import { sourceTokens } from './read-tokens.ts';
import type { TuningWindow } from './tuning-windows.ts';
import { planWindows, type Window } from './windows.ts';

/** At most so many targets of one window: many windows are better, but each is read whole. */
const PER_WINDOW = 128;
/** Windows before it that are read for what a text remembers. */
const PAST = 2;
/** Of the golden ratio: its multiples fill [0, 1) evenly. */
const STEP = 0.618_033_988_749_895;

export interface OwnWindowsOptions {
  /** At most. */
  targets: number;
  /** Whether windows before the sampled ones are given too, without positions that count. */
  withPast: boolean;
}

/** Windows spread evenly over the store's documents, each with a run of positions and its own document left out. */
export async function ownWindows(
  datastore: Entries,
  model: LanguageModel,
  { targets, withPast }: OwnWindowsOptions,
): Promise<TuningWindow[]> {
  const { header } = datastore;
  const breather = new Breather();
  let total = 0;
  let entries = 0;
  for (const document of datastore.documents) {
    for (const _ of planWindows(document.length, header)) total++;
    entries += document.length;
    await breather.pause();
  }
  const perWindow = Math.min(PER_WINDOW, Math.ceil(entries / Math.max(1, total)));
  const count = Math.min(total, Math.ceil(targets / perWindow));
  const reader = new WindowReader(datastore, model, entries);
  const windows: TuningWindow[] = [];
  let at = 0;
  let number = 0;
  for (const document of datastore.documents) {
    let past: Window[] = [];
    for (const window of planWindows(document.length, header)) {
      // The i-th of count evenly spaced ones, from the middle of its share.
      if (at++ === Math.floor(((number + 0.5) * total) / count)) {
        const positions = runIn(window, Math.ceil(targets / count), (number * STEP) % 1);
        const place = { document, number };
        for (const before of past)
          windows.push(await reader.read(before, new Int32Array(0), place));
        windows.push(await reader.read(window, positions, place));
        number++;
      }
      if (withPast) past = [...past, window].slice(-PAST);
    }
    await breather.pause();
  }
  return windows;
}

/** Of the positions that the window is the first to reach. @param share of the rest that lies before the run */
function runIn({ length, seen }: Window, wanted: number, share: number): Int32Array {
  const count = Math.min(wanted, length - seen);
  const begin = seen + Math.floor(share * (length - seen - count + 1));
  return Int32Array.from({ length: count }, (_, i) => begin + i);
}

class WindowReader {
  readonly #datastore: Entries;
  readonly #model: LanguageModel;
  readonly #entries: number;

  /** @param entries of all documents */
  constructor(datastore: Entries, model: LanguageModel, entries: number) {
    this.#datastore = datastore;
    this.#model = model;
    this.#entries = entries;
  }

  async read(
    window: Window,
    positions: Int32Array,
    { document, number }: { document: DocumentRecord; number: number },
  ): Promise<TuningWindow> {
    const { start, length } = window;
    const { bos } = this.#datastore.header;
    const first = document.start + start;
    const targets = Int32Array.from(await this.#datastore.valueRange(first, first + length));
    const inputs = new Int32Array(length);
    inputs.set(targets.subarray(0, length - 1), 1);
    inputs[0] = start === 0 ? bos : (await this.#datastore.valueRange(first - 1, first))[0]!;
    return {
      inputs,
      targets,
      positions,
      sourceIds: await sourceTokens(document, this.#model),
      document: number,
      start,
      exclude: [ownRange(document, window, this.#entries)],
    };
  }
}

/** The document; of one that is half of the store or more, the text around the window, a window's length on each side. */
function ownRange({ start, length }: DocumentRecord, window: Window, entries: number): IdRange {
  if (2 * length <= entries) return [start, start + length];
  const from = start + window.start;
  return [
    Math.max(start, from - window.length),
    Math.min(start + length, from + 2 * window.length),
  ];
}
