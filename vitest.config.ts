import { defineConfig } from 'vitest/config';

// Tests run against dist/, which is what ships: workers and WebAssembly are loaded as a user's are.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
  },
});
