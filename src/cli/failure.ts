/**
 * From an error to what the user sees: exit status 2 and one line for what he can mend, 1 for a fault of ours,
 * 130 after Ctrl-C. With KNNLM_DEBUG set a stack follows.
 */
import { CommanderError } from 'commander';
import { KnnLMError } from '../errors.ts';
import { oneLine } from './text.ts';

export interface Failure {
  exitCode: number;
  /** Undefined when everything has been said. */
  message?: string;
}

export function describeFailure(error: unknown, debug = false): Failure {
  // Commander has printed its line; help and version are no failures.
  if (error instanceof CommanderError) return { exitCode: error.exitCode === 0 ? 0 : 2 };
  if (isAbort(error)) return { exitCode: 130 };
  const stack = error instanceof Error && error.stack ? error.stack : String(error);
  if (error instanceof KnnLMError) {
    const line = oneLine(error.message);
    return { exitCode: 2, message: debug ? `${line}\n${stack}` : line };
  }
  const text = error instanceof Error ? error.message : String(error);
  return {
    exitCode: 1,
    message: debug
      ? `This is a fault of knnlm.\n${stack}`
      : `This is a fault of knnlm: ${oneLine(text)} (KNNLM_DEBUG=1 shows where)`,
  };
}

/** A clean stop that somebody asked for. */
export function isAbort(error: unknown): boolean {
  return (
    (error instanceof KnnLMError && error.code === 'ABORTED') ||
    (error instanceof Error && error.name === 'AbortError')
  );
}
