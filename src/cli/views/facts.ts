/** Lines of `name   value`, the form in which most results are printed. */
import type { Colors } from '../screen.ts';
import { pad, width } from '../text.ts';

export type Fact = readonly [name: string, value: string];

/** Names dimmed and in one column. A fact with an empty value is left out. */
export function facts(rows: readonly Fact[], colors: Colors, indent = '  '): string {
  const shown = rows.filter(([, value]) => value !== '');
  const column = Math.max(...shown.map(([name]) => width(name)));
  return shown
    .map(([name, value]) => `${indent}${colors.dim(pad(name, column))}  ${value}`)
    .join('\n');
}
