/** What `model` prints. */
import type { ModelDescription } from '../library.ts';
import type { Colors } from '../screen.ts';
import { facts } from './facts.ts';

export function modelText(description: ModelDescription, colors: Colors): string {
  return facts(
    Object.entries(description).map(([name, value]) => [name, String(value)] as const),
    colors,
  );
}
