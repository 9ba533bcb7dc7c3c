/** What somebody who tuned should know before trusting the result. */
import type { NeighborTable } from './cached-neighbors.ts';
import type { SettingsSearch } from './search-settings.ts';
import type { Overlap } from './text-overlap.ts';

export interface TuningWarning {
  /** `no-help`: the store does not help. `overlap`: the text is in the store. `grid-edge`: the optimum may lie outside of what was tried. `little-text`: too few tokens. `unpublished`: machines that open the store by its address do not have the settings yet. */
  code: 'no-help' | 'overlap' | 'grid-edge' | 'little-text' | 'unpublished';
  message: string;
}

/** With fewer targets the bootstrap interval is wide and the gate can hardly be fitted. */
const ENOUGH_TOKENS = 1_000;
/** Doubling k gained more than this share of perplexity at the largest k: more neighbors would help. */
const GAIN_OF_DOUBLING = 5e-3;

export function tuningWarnings({
  found,
  overlap,
  ratio,
  table,
  isForSpeed,
  entries,
}: {
  found: SettingsSearch;
  overlap: Overlap;
  ratio: readonly [number, number];
  table: Pick<NeighborTable, 'targets' | 'k'>;
  /** Whether fewer neighbors were taken on purpose. */
  isForSpeed: boolean;
  entries: number;
}): TuningWarning[] {
  const warnings: TuningWarning[] = [];
  const { best } = found;
  const warn = (code: TuningWarning['code'], message: string): void => {
    warnings.push({ code, message });
  };
  if (best.lambda === 0 || ratio[1] >= 1) {
    const gain = ((1 - best.perplexity / found.lm) * 100).toFixed(1);
    warn(
      'no-help',
      best.lambda === 0
        ? 'The store does not help on this text at any setting: lambda is 0. Store documents closer to the text.'
        : `The store hardly helps on this text: perplexity falls by ${gain}%, and the 95% interval reaches no gain. Use more text, or store documents closer to it.`,
    );
  }
  const shared = [...overlap.stored, ...overlap.copied];
  if (shared.length > 0) {
    const names = shared.slice(0, 3).map((id) => JSON.stringify(id));
    const more = shared.length > 3 ? ` and ${shared.length - 3} more` : '';
    warn(
      'overlap',
      `The text is in the store (${names.join(', ')}${more}), so the settings trust it too much. Tune on text that was not stored.`,
    );
  }
  const temperatures = found.surface.temperatures;
  const { temperature } = best;
  if (best.lambda > 0 && (temperature <= temperatures[0]! || temperature >= temperatures.at(-1)!)) {
    warn(
      'grid-edge',
      `The best temperature, ${temperature}, is at the edge of what was tried: the optimum may lie beyond.`,
    );
  }
  const leastAt = (row: number): number =>
    Math.min(...found.cells[row]!.map(({ perplexity }) => perplexity));
  const last = found.cells.length - 1;
  if (
    !isForSpeed &&
    best.k === table.k &&
    last > 0 &&
    table.k < entries &&
    leastAt(last - 1) / leastAt(last) - 1 > GAIN_OF_DOUBLING
  ) {
    warn(
      'grid-edge',
      `The best k is the largest tried, ${table.k}, and still gaining: more neighbors may help.`,
    );
  }
  if (table.targets < ENOUGH_TOKENS) {
    warn(
      'little-text',
      `Only ${table.targets} tokens were there to tune on: the settings are uncertain. Give ${ENOUGH_TOKENS} or more.`,
    );
  }
  return warnings;
}
