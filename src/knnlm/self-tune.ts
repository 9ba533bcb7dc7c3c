/**
 * Settings without held-out text, at the end of a build: targets sampled from the store's own documents, each searched
 * with its own document left out, stand in for text that was not stored. What they show of the scale of the distances
 * and of how much the documents say about each other is what k, λ, T and the gate need.
 */
import type { DocumentRecord, SettingsRecord } from '../datastore/types.ts';
import { Breather } from '../math/breather.ts';
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { collectNeighbors } from './collect-neighbors.ts';
import type { Entries } from './entries.ts';
import { DEFAULT_SETTINGS } from './interpolate.ts';
import { sourceTokens } from './read-tokens.ts';
import { runSettingsSearch } from './run-settings-search.ts';
import {
  allowedParts,
  gateReport,
  type TuneParts,
  type TuneRequest,
  tunedSettings,
} from './tune.ts';
import { curvesOf, keptCurves } from './tuning-curves.ts';
import type { TuningWindow } from './tuning-windows.ts';
import { planWindows, type Window } from './windows.ts';

/** Targets sampled, and at most how many of one window: many windows are better, but each is read whole. */
const TARGETS = 2048;
const PER_WINDOW = 32;
/** An index that scans every key may look at so many in all: about ten seconds. Never fewer targets than FEWEST. */
const SCANNED_KEYS = 4e9;
const FEWEST = 512;
/** Of the golden ratio: its multiples fill [0, 1) evenly. */
const STEP = 0.618_033_988_749_895;
/** With fewer targets that have any neighbors, nothing is concluded. */
const FEWEST_FOUND = 256;

/** @returns undefined when the store is too small to tell. Errors: `ABORTED`. */
export async function selfTune(
  parts: TuneParts,
  { onProgress, signal }: Pick<TuneRequest, 'onProgress' | 'signal'>,
): Promise<SettingsRecord | undefined> {
  const { datastore, retriever, model } = parts;
  const most =
    retriever.index.kind === 'flat'
      ? Math.max(FEWEST, Math.min(TARGETS, Math.floor(SCANNED_KEYS / datastore.entries)))
      : TARGETS;
  const windows = await ownWindows(datastore, model, most);
  const collected = await collectNeighbors(windows, parts, {
    k: DEFAULT_SETTINGS.k,
    unitIsDocument: false,
    withEvidence: true,
    phase: 'tuning',
    onProgress,
    signal,
  });
  const { neighbors: table } = collected;
  let found = 0;
  for (let row = 0; row < table.targets; row++) {
    if (table.distances[row * table.k] !== Number.POSITIVE_INFINITY) found++;
  }
  if (found < FEWEST_FOUND) return undefined;
  const fitted = await runSettingsSearch(
    { ...collected, allowed: allowedParts({}, model) },
    signal,
  );
  const { search, gate } = fitted;
  const report = gate && gateReport(gate);
  const settings = tunedSettings(fitted, DEFAULT_SETTINGS.k, table.k);
  const evidence = {
    tokens: table.targets,
    windows: windows.length,
    perplexity: { lm: search.lm, knnlm: search.best.perplexity },
    ...(report && { gate: report }),
    curves: keptCurves(curvesOf(search), settings.temperature),
    entries: datastore.entries,
  };
  if (settings.gate) return { ...settings, source: 'self-tuned', evidence };
  // The documents say nothing about each other, but text about one of them may still be read: the paper's λ, at the
  // scale of these distances, where most of the vote goes to what is as near as the nearest.
  if (settings.lambda === 0) {
    const temperature = Number((search.spread / 8).toPrecision(4));
    return { ...settings, ...DEFAULT_SETTINGS, temperature, source: 'self-tuned', evidence };
  }
  return { ...settings, source: 'self-tuned', evidence };
}

/** Windows spread evenly over the store's documents, each with evenly spread positions and its own document left out. */
async function ownWindows(
  datastore: Entries,
  model: LanguageModel,
  most: number,
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
  const count = Math.min(total, Math.ceil(most / perWindow));
  const windows: TuningWindow[] = [];
  let at = 0;
  for (const document of datastore.documents) {
    for (const window of planWindows(document.length, header)) {
      // The i-th of count evenly spaced ones, from the middle of its share.
      const wanted = Math.floor(((windows.length + 0.5) * total) / count);
      if (at++ !== wanted) continue;
      const positions = Math.ceil(most / count);
      windows.push(
        await readWindow(datastore, document, {
          model,
          window,
          number: windows.length,
          positions,
          entries,
        }),
      );
    }
    await breather.pause();
  }
  return windows;
}

async function readWindow(
  datastore: Entries,
  document: DocumentRecord,
  options: {
    model: LanguageModel;
    window: Window;
    number: number;
    positions: number;
    entries: number;
  },
): Promise<TuningWindow> {
  const { start, length, seen } = options.window;
  const first = document.start + start;
  const targets = Int32Array.from(await datastore.valueRange(first, first + length));
  const inputs = new Int32Array(length);
  inputs.set(targets.subarray(0, length - 1), 1);
  inputs[0] =
    start === 0 ? datastore.header.bos : (await datastore.valueRange(first - 1, first))[0]!;
  const fresh = length - seen;
  const count = Math.min(options.positions, fresh);
  // One after another, so that pointers can be followed; somewhere in the window, so that each has some past.
  const begin = seen + Math.floor(((options.number * STEP) % 1) * (fresh - count + 1));
  return {
    inputs,
    targets,
    positions: Int32Array.from({ length: count }, (_, i) => begin + i),
    sourceIds: await sourceTokens(document, options.model),
    document: options.number,
    start,
    exclude: [ownRange(document, options.window, options.entries)],
  };
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
