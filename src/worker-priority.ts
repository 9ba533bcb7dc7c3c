/**
 * For worker threads that compute for milliseconds at a time: they give way to the thread that answers requests, where cores are
 * fewer than threads. On Linux a priority belongs to a thread; elsewhere to the process, and nothing is changed.
 */
import { getPriority, setPriority } from 'node:os';

/** A tenth of the share of a thread with the usual priority, where both want the same core. */
const NICER = 10;

/** Applies to the calling thread and to those that it starts from then on, onnxruntime's among them. */
export function yieldToEventLoop(): void {
  if (process.platform !== 'linux') return;
  try {
    setPriority(Math.min(19, getPriority() + NICER));
  } catch {
    // Where the system does not allow it all threads stay equal.
  }
}
