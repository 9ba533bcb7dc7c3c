#!/usr/bin/env node
/** The `knnlm` command: parses, calls, sets the exit status. */
import { describeFailure } from './failure.ts';
import { createProgram } from './program.ts';
import { Screen } from './screen.ts';

// The reader has gone (`knnlm search … | head -1`): nothing is left to say.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

try {
  await createProgram().parseAsync();
} catch (error) {
  const { exitCode, message } = describeFailure(error, Boolean(process.env.KNNLM_DEBUG));
  process.exitCode = exitCode;
  if (message) new Screen({ color: !process.argv.includes('--no-color') }).error(message);
}
