import { readdirSync, readFileSync } from 'node:fs';
import { getPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { loadModel } from '../dist/model/load-model.js';

const folder = fileURLToPath(new URL('./fixtures/models/stories260K', import.meta.url));

/** Of each thread of this process: proc(5), the 19th field of `stat`. */
function niceValues(): number[] {
  return readdirSync('/proc/self/task').map((thread) => {
    const stat = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16]);
  });
}

it.runIf(process.platform === 'linux')(
  'threads of the model give way to the event loop',
  async () => {
    const own = getPriority();
    const before = niceValues().filter((nice) => nice > own).length;
    const model = await loadModel(folder);
    await (await model.startDecoding()).read([1, 2, 3]);
    expect(niceValues().filter((nice) => nice > own).length).toBeGreaterThan(before);
    expect(getPriority()).toBe(own);
    await model.close();
  },
);
