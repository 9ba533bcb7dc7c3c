/**
 * Settings without held-out text, at the end of a build: targets sampled from the store's own documents, each searched
 * with its own document left out, stand in for text that was not stored. What they show of the scale of the distances
 * and of how much the documents say about each other is what k, λ, T and the gate need.
 */
import type { SettingsRecord } from '../datastore/types.ts';
import { type Attempt, attemptFit } from './attempt-fit.ts';
import { DEFAULT_SETTINGS } from './interpolate.ts';
import { ownWindows } from './own-windows.ts';
import type { Retriever } from './retriever.ts';
import { type SearchBudget, speedUp } from './speed-ladder.ts';
import {
  allowedParts,
  gateReport,
  type TuneParts,
  type TuneRequest,
  tunedSettings,
} from './tune.ts';
import { curvesOf, keptCurves } from './tuning-curves.ts';

/** Targets sampled: one of so many entries, within these bounds. A gate has some 700 numbers to learn. */
const ENTRIES_PER_TARGET = 128;
const TARGETS = { least: 2048, most: 10_240 };
/** An index that scans every key may look at so many in all: about ten seconds. Never fewer targets than FEWEST. */
const SCANNED_KEYS = 4e9;
const FEWEST = 512;
/** With fewer targets that have any neighbors, nothing is concluded. */
const FEWEST_FOUND = 256;

/** @returns undefined when the store is too small to tell. Errors: `ABORTED`. */
export async function selfTune(
  parts: TuneParts,
  { within, onProgress, signal }: Pick<TuneRequest, 'within' | 'onProgress' | 'signal'>,
): Promise<SettingsRecord | undefined> {
  const { datastore, retriever, model } = parts;
  const allowed = allowedParts({}, model);
  const windows = await ownWindows(datastore, model, {
    targets: targetsFor(retriever),
    withPast: allowed.cache,
  });
  const attempt = (budget: SearchBudget): Promise<Attempt> =>
    attemptFit(windows, parts, {
      ...budget,
      ...{ allowed, unitIsDocument: true, phase: 'tuning', onProgress, signal },
    });
  const first = await attempt({ k: DEFAULT_SETTINGS.k, effort: 1 });
  if (first.table.found < FEWEST_FOUND) return undefined;
  const { chosen, speed } = await speedUp(first, { within, attempt, index: retriever.index });
  const { fitted, step, table } = chosen;
  const { search, gate } = fitted;
  const report = gate && gateReport(gate);
  const settings = tunedSettings(fitted, step, table.k);
  const evidence = {
    tokens: table.targets,
    windows: windows.filter(({ positions }) => positions.length > 0).length,
    perplexity: { lm: search.lm, knnlm: search.best.perplexity },
    ...(report && { gate: report }),
    ...(speed && { speed }),
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

function targetsFor({ index, datastore }: Retriever): number {
  const { least, most } = TARGETS;
  const wanted = Math.max(
    least,
    Math.min(most, Math.floor(datastore.entries / ENTRIES_PER_TARGET)),
  );
  if (index.kind !== 'flat') return wanted;
  return Math.max(FEWEST, Math.min(wanted, Math.floor(SCANNED_KEYS / datastore.entries)));
}
