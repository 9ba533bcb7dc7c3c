#!/usr/bin/env node
/** The `knnlm` command: parses, calls, sets the exit status. */
import { describeFailure } from './failure.ts';
import { abandonWork } from './interrupt.ts';
import { createProgram } from './program.ts';
import { Screen } from './screen.ts';

// The reader has gone (`knnlm search … | head -1`): nothing is left to say. Work under way is ended cleanly first, since
// leaving while onnxruntime runs in a worker thread can end in a crash.
let readerGone = false;
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    readerGone = true;
    if (!abandonWork()) process.exit(0);
  });
}

try {
  await createProgram().parseAsync();
} catch (error) {
  const { exitCode, message } = describeFailure(error, Boolean(process.env.KNNLM_DEBUG));
  process.exitCode = readerGone ? 0 : exitCode;
  if (message && !readerGone)
    new Screen({ color: !process.argv.includes('--no-color') }).error(message);
}
