import { configDefaults, defineConfig } from 'vitest/config';

/** Take long by themselves; `npm run test:all` and continuous integration have them too. */
const LONG = [
  'test/cli/keyless.test.ts',
  'test/cli/pairs-changes.test.ts',
  'test/cli/tuning.test.ts',
  'test/datastore/harness.test.ts',
  'test/experiments/experiments.test.ts',
  'test/knnlm/keep-tuned.test.ts',
  'test/knnlm/speed-ladder.test.ts',
  'test/web/{memory,page,reading}.test.ts',
];

/**
 * Node 20, and no other so far, has been seen to abort a process when a worker ended while its code was being optimized in another
 * thread (`NodePlatform::ForIsolate`, `(data.first) != nullptr`). Thousands of workers end here.
 */
const isNode20 = process.versions.node.startsWith('20.');

// Tests run against dist/, which is what ships: workers and WebAssembly are loaded as a user's are.
export default defineConfig(({ mode }) => ({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...(mode === 'all' ? [] : LONG)],
    // For what hangs: machines of continuous integration may be several times slower than one that is at rest.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    maxWorkers: 2,
    execArgv: isNode20 ? ['--no-concurrent-recompilation'] : [],
  },
}));
