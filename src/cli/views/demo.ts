/** The last words of `demo`: what to type next. */
import type { Colors } from '../screen.ts';
import { oneLine } from '../text.ts';

export function nextSteps(store: string, colors: Colors): string {
  const path = shellWord(oneLine(store));
  const steps = [
    [
      `knnlm search ${path} "Proton-pump inhibitors are used to treat"`,
      'who votes for the next word',
    ],
    [`knnlm generate ${path} "Osmotic diuretics are" --knn-temperature 2`, 'another sentence'],
    [`knnlm info ${path}`, 'what the store holds'],
    ['knnlm build your-documents/ --out yours.knn', 'a memory of your own'],
  ] as const;
  const lines = steps.map(([command, meaning]) => `  ${command}\n    ${colors.dim(meaning)}`);
  return `${colors.bold('Go on from here')}\n${lines.join('\n')}`;
}

/** Quoted for a shell where that is needed. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
