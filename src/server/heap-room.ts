/**
 * Room for a server's garbage. V8 lets a heap of 25 MB grow by as much before it looks through all of it, and what many texts allocate for a
 * second or two is so much: all that while its threads and the event loop want the same cores. With a hundred megabytes to spare
 * it looks every fifteen seconds.
 */
import { getHeapStatistics, setFlagsFromString } from 'node:v8';

/** Bytes that a heap may grow by, and the most and the least growth that is set, in percent of what is live. */
const ROOM = 100 * 2 ** 20;
const MOST_PERCENT = 400;
const LEAST_PERCENT = 100;

/**
 * Lets the heaps of this process, its workers' included, grow further before they are collected whole: by 100 MB, or to five times what they
 * hold. A heap that is larger than that has room by itself, and stays as it is. For a process that serves and does nothing else; call it once, when
 * everything is open.
 */
export function giveHeapRoom(): void {
  const live = getHeapStatistics().used_heap_size;
  const percent = Math.min(MOST_PERCENT, Math.round((100 * ROOM) / live));
  if (percent >= LEAST_PERCENT) setFlagsFromString(`--heap-growing-percent=${percent}`);
}
