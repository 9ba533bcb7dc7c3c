/** The table of tested models in docs/models.md, from the tests' own results. */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export interface ResultRow {
  /** Fixture: family, or family.style. */
  name: string;
  exporter: string;
  /** How many of the six keys there are and were found. */
  keys: number;
  /** Largest differences from PyTorch, absolute. */
  keyDifference?: number;
  logProbDifference?: number;
  /** Whether decoding goes on from an attention cache. */
  cache?: boolean;
  /** Whether several texts share their steps. */
  together?: boolean;
  refused?: string;
}

const PAGE = fileURLToPath(new URL('../../docs/models.md', import.meta.url));
/** A page may have several tables, each between marks of its own. */
const marks = (which: string): { start: string; end: string } => {
  const name = which ? ` of ${which}` : '';
  return {
    start: `<!-- results${name}: written by npm run docs:models -->\n`,
    end: `<!-- end of results${name} -->`,
  };
};

/** The table as it stands in the page, and as it should. */
export function modelsTable(
  rows: readonly ResultRow[],
  which = '',
): { written: string; table: string } {
  const page = readFileSync(PAGE, 'utf8');
  const { start, end } = marks(which);
  return {
    written: page.slice(page.indexOf(start) + start.length, page.indexOf(end)),
    table: format(rows),
  };
}

export function writeModelsTable(rows: readonly ResultRow[], which = ''): void {
  const page = readFileSync(PAGE, 'utf8');
  const { start, end } = marks(which);
  const head = page.slice(0, page.indexOf(start) + start.length);
  writeFileSync(PAGE, head + format(rows) + page.slice(page.indexOf(end)));
}

/** Last digits differ from processor to processor. */
export const withoutNumbers = (table: string): string =>
  table.replace(/\d(\.\d+)?(e-\d+|%)/g, '#').replace(/\d+(\.\d+)?%/g, '#');

function format(rows: readonly ResultRow[]): string {
  const passed = rows.filter((row) => row.refused === undefined);
  const failed = rows.filter((row) => row.refused !== undefined);
  const families = new Set(passed.map(({ name }) => name.split('.')[0]));
  return [
    `${passed.length} exports of ${families.size} architectures agree with PyTorch; ${failed.length} ${failed.length === 1 ? 'is' : 'are'} refused.`,
    '',
    '| family | exported by | keys | largest difference of a key | of a log-probability | decodes from |',
    '| --- | --- | --- | --- | --- | --- |',
    ...passed.map(({ name, exporter, keys, keyDifference, logProbDifference, cache, together }) =>
      line(
        [
          name,
          exporter,
          `${keys} of ${keys}`,
          digits(keyDifference),
          digits(logProbDifference),
          cache ? `its cache${together ? ', together' : ''}` : 'the start',
        ].map(String),
      ),
    ),
    '',
    '| refused | exported by | why |',
    '| --- | --- | --- |',
    ...failed.map(({ name, exporter, refused }) => line([name, exporter, refused!])),
    '',
  ].join('\n');
}

const line = (cells: string[]): string => `| ${cells.join(' | ')} |`;
const digits = (value: number | undefined): string => value?.toExponential(0) ?? '';
