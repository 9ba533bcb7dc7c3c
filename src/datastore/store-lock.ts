/**
 * One writer per datastore: a file named `lock` in its folder says which process writes. A dead owner's lock is taken
 * over. Readers need none.
 */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { KnnLMError } from '../errors.ts';
import {
  createExclusively,
  linkFile,
  listFolder,
  readWhole,
  removeFile,
  renameFile,
} from './files.ts';

interface Owner {
  pid: number;
  host: string;
  /** When the process started, in the system's own unit: tells it from a later one with the same pid. Empty if unknown. */
  started: string;
}

export interface StoreLock {
  isHeld(): Promise<boolean>;
  /** Errors: `STORE_LOCKED` when the lock file was removed by hand or another process has taken it over. */
  check(): Promise<void>;
  release(): Promise<void>;
}

/** Errors: `STORE_LOCKED`, naming the process that writes. */
export async function lockStore(store: string): Promise<StoreLock> {
  const path = join(store, 'lock');
  const mine = `${JSON.stringify({
    pid: process.pid,
    host: hostname(),
    started: processStart(process.pid) ?? '',
  } satisfies Owner)}\n`;
  // A second round follows when a dead owner's lock was moved out of the way, a third when another process was faster.
  for (let round = 0; round < 3; round++) {
    if (await createExclusively(path, mine)) {
      await removeLeftovers(store);
      return heldLock(store, path, mine);
    }
    const seen = await readLock(path);
    if (seen === undefined) continue;
    const owner = parseOwner(seen);
    if (owner && isAlive(owner)) throw lockedBy(store, path, owner);
    await moveAside(path, seen);
  }
  throw new KnnLMError('STORE_LOCKED', `${store} is being written by another process. Try again.`);
}

function heldLock(store: string, path: string, mine: string): StoreLock {
  const isHeld = async (): Promise<boolean> => (await readLock(path)) === mine;
  return {
    isHeld,
    async check() {
      if (await isHeld()) return;
      throw new KnnLMError(
        'STORE_LOCKED',
        `${store} was taken over by another process, or its lock file was removed. Let one process write at a time.`,
      );
    },
    async release() {
      if (await isHeld()) await removeFile(path);
    },
  };
}

/** Removes the dead owner's lock, unless another process has just replaced it by its own: that one is put back. */
async function moveAside(path: string, seen: string): Promise<void> {
  const aside = `${path}.${process.pid}.stale`;
  try {
    await renameFile(path, aside);
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  if ((await readLock(aside)) !== seen) await linkFile(aside, path).catch(() => undefined);
  await removeFile(aside);
}

/** Temporary files of processes that died while taking the lock. */
async function removeLeftovers(store: string): Promise<void> {
  for (const name of await listFolder(store)) {
    const pid = /^lock\.(\d+)\.(?:tmp|stale)$/.exec(name)?.[1];
    if (pid && !isAlive({ pid: Number(pid), host: hostname(), started: '' }))
      await removeFile(join(store, name));
  }
}

/** Undefined when it has just been removed. */
async function readLock(path: string): Promise<string | undefined> {
  try {
    return (await readWhole(path)).toString('utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

const isMissing = (error: unknown): boolean =>
  ((error as KnnLMError).cause as NodeJS.ErrnoException | undefined)?.code === 'ENOENT';

/** Undefined for what a crash left half-written. */
function parseOwner(text: string): Owner | undefined {
  try {
    const owner = JSON.parse(text) as Owner;
    return Number.isInteger(owner?.pid) && owner.pid > 0 ? owner : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(owner: Owner): boolean {
  // Another machine's processes cannot be looked at: its lock is believed.
  if (owner.host !== hostname()) return true;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
  }
  const started = processStart(owner.pid);
  if (started === 'dead') return false;
  return started === undefined || !owner.started || started === owner.started;
}

/** Linux: clock ticks from boot to the process's start, `dead` for a zombie. Undefined elsewhere. */
function processStart(pid: number): string | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field, the command in parentheses, may hold spaces and parentheses itself.
    const fields = status.slice(status.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? 'dead' : fields[19];
  } catch {
    return undefined;
  }
}

function lockedBy(store: string, path: string, owner: Owner): KnnLMError {
  const here = owner.host === hostname();
  return new KnnLMError(
    'STORE_LOCKED',
    here
      ? `${store} is being written by process ${owner.pid}. Wait until it has finished, or stop it.`
      : `${store} is being written by process ${owner.pid} on ${owner.host}. If that one is gone, remove ${path}.`,
  );
}
