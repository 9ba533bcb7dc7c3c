import { configDefaults, defineConfig } from 'vitest/config';

/** Take long by themselves; `npm run test:all` and continuous integration have them too. */
const LONG = [
  'test/cli/keyless.test.ts',
  'test/cli/pairs-changes.test.ts',
  'test/datastore/harness.test.ts',
  'test/experiments/experiments.test.ts',
  'test/knnlm/keep-tuned.test.ts',
  'test/web/{memory,page,reading}.test.ts',
];

// Tests run against dist/, which is what ships: workers and WebAssembly are loaded as a user's are.
export default defineConfig(({ mode }) => ({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: [...configDefaults.exclude, ...(mode === 'all' ? [] : LONG)],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
  },
}));
