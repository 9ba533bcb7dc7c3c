/**
 * Ctrl-C: the first asks the work to stop cleanly, the second ends the process.
 * SIGTERM is what a supervisor sends for the same wish.
 */
const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

let current: AbortController | undefined;

/** Ends the work under way as the first Ctrl-C does. @returns whether there is any */
export function abandonWork(): boolean {
  current?.abort();
  return current !== undefined;
}

/** Runs `work` with a signal that Ctrl-C aborts. */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  onInterrupt: () => void,
): Promise<T> {
  const controller = new AbortController();
  const interrupt = (signal: (typeof SIGNALS)[number]) => {
    // The work may be deep in native code and unable to end; a second wish is obeyed at once.
    if (controller.signal.aborted) process.exit(EXIT_CODES[signal]);
    onInterrupt();
    controller.abort();
  };
  for (const signal of SIGNALS) process.on(signal, interrupt);
  current = controller;
  try {
    return await work(controller.signal);
  } finally {
    for (const signal of SIGNALS) process.off(signal, interrupt);
    current = undefined;
  }
}
