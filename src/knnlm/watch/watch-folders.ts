/**
 * Folders kept in step with a store. The system tells that something has changed, never what: each time all files are
 * looked at, and those that are not as they were noted are read and hashed. So nothing depends on an event that got lost, on
 * the order of events, or on the watcher having run when a file changed.
 */
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkWritable, pathKind } from '../../datastore/files.ts';
import { readManifest } from '../../datastore/manifest.ts';
import { FolderWatch } from '../../datastore/sources/folder-watch.ts';
import { isIn } from '../../datastore/sources/look-at-folder.ts';
import { type ErrorCode, KnnLMError } from '../../errors.ts';
import { FolderSync, type SyncOutcome } from './folder-sync.ts';
import type { WatchEvent, WatchRequest } from './types.ts';

const SETTLE_MS = 2000;
/** File systems tell times to some milliseconds. */
const LEAST_SETTLE_MS = 100;
/** Waited for beyond the time for which a file must have rested. */
const SLACK_MS = 50;
/** Where the system cannot tell of changes, and while a folder is away. */
const POLL_MS = 10_000;
/** Looked at in any case: what the system has not told is found. */
const LONGEST_REST_MS = 600_000;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;
/** With `once`, looks at a file that goes on being written. */
const MOST_LOOKS = 3;
/** What passes: a writer ends, a disk is emptied, a server comes back. */
const PASSING: readonly ErrorCode[] = ['STORE_LOCKED', 'DISK_FULL', 'IO', 'INDEX_UNAVAILABLE'];

/**
 * @param folders of documents; what the store holds from elsewhere stays untouched
 * @returns what happens, as it happens
 * Errors: `INVALID_ARGUMENT`, `STORE_NOT_FOUND`, `STORE_CORRUPT`, `STORE_VERSION`, `MODEL_MISMATCH`, those of `loadModel`;
 * `ABORTED` when the signal is given; with `once` what is waited for otherwise: `STORE_LOCKED`, `DISK_FULL`, `IO`.
 */
export async function* watchFolders(
  store: string,
  folders: readonly string[],
  request: WatchRequest = {},
): AsyncGenerator<WatchEvent> {
  const path = resolve(store);
  const paths = [...new Set(folders.map((folder) => resolve(folder)))];
  await checkPaths(path, paths);
  const settleMs = Math.max(LEAST_SETTLE_MS, request.settleMs ?? SETTLE_MS);
  const settled = { ...request, settleMs };
  const sync = new FolderSync(path, paths, settled);
  const turns = new Turns(path, paths, settled);
  try {
    if (!request.once) await turns.open();
    yield { event: 'watching', store: path, folders: paths };
    yield* keepInStep(sync, turns, settled);
  } finally {
    await Promise.all([turns.close(), sync.close()]);
  }
}

async function* keepInStep(
  sync: FolderSync,
  turns: Turns,
  { once, signal }: WatchRequest,
): AsyncGenerator<WatchEvent> {
  let isTold = false;
  let waiting = '';
  let failures = 0;
  for (let looks = 1; ; looks++) {
    let outcome: SyncOutcome;
    try {
      outcome = yield* sync.sync();
    } catch (error) {
      if (once || signal?.aborted || !isPassing(error)) throw error;
      const { message } = error as Error;
      if (message !== waiting) yield { event: 'waiting', reason: message };
      waiting = message;
      await rest(Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** failures++), signal);
      continue;
    }
    waiting = '';
    failures = 0;
    const isEnd = once === true && looks === MOST_LOOKS;
    const { againInMs, open, files, failed, hasChanged, stored } = outcome;
    if (isEnd)
      for (const source of open) yield { event: 'skipped', source, reason: 'it is being written' };
    if (againInMs === undefined || isEnd) {
      isTold &&= !hasChanged;
      const unread = failed + open.length;
      if (!isTold) yield { event: 'in-step', files, failed: unread, ...stored };
      isTold = true;
      if (once) return;
    }
    yield* turns.next(outcome);
  }
}

const isPassing = (error: unknown): boolean =>
  error instanceof KnnLMError && PASSING.includes(error.code);

/** Errors: `INVALID_ARGUMENT`, `STORE_NOT_FOUND`, `STORE_VERSION`, `STORE_CORRUPT`, `IO` when nothing may be written. */
async function checkPaths(store: string, folders: readonly string[]): Promise<void> {
  const refuse = (text: string) => new KnnLMError('INVALID_ARGUMENT', text);
  if (folders.length === 0) throw refuse('No folder was named. Give one or more to watch.');
  const { building } = await readManifest(store);
  if (building?.mode === 'build') {
    throw refuse(`${store} is not fully built. Run the same build again to finish it first.`);
  }
  await checkWritable(store);
  for (const folder of folders) {
    const kind = await pathKind(folder);
    if (kind === 'missing') throw refuse(`${folder} does not exist. Check the path.`);
    if (kind !== 'folder') throw refuse(`${folder} is not a folder. Give the folder it is in.`);
    if (isIn(folder, store)) throw refuse(`${folder} is in the store itself. Name another folder.`);
  }
}

async function rest(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
  if (signal?.aborted) throw new KnnLMError('ABORTED', 'Watching was stopped.');
}

/** When to look next: when something has changed and rested, when a file may have been written to its end, or by the clock. */
class Turns {
  readonly #store: string;
  readonly #folders: readonly string[];
  readonly #request: WatchRequest & { settleMs: number };
  #watch: FolderWatch | undefined;
  /** Of the folders that are watched: one that was made anew is another. */
  #identities: string | undefined;
  /** Why the system tells of no changes. */
  #failure: string | undefined;
  #isTold = false;

  constructor(
    store: string,
    folders: readonly string[],
    request: WatchRequest & { settleMs: number },
  ) {
    this.#store = store;
    this.#folders = folders;
    this.#request = request;
  }

  async open(): Promise<void> {
    if (this.#request.pollMs !== undefined) return;
    this.#watch = await FolderWatch.open(this.#folders, {
      without: this.#store,
      onFailure: (reason) => {
        this.#failure ??= reason;
      },
    });
  }

  async *next({ againInMs, identities, isSomeAway }: SyncOutcome): AsyncGenerator<WatchEvent> {
    const { pollMs, settleMs, signal } = this.#request;
    this.#identities ??= identities;
    if (this.#watch && identities !== this.#identities) {
      // Changes in between are found by looking at once.
      await this.#watch.close();
      await this.open();
      this.#identities = identities;
      return;
    }
    yield* this.#tellFailure();
    const timeoutMs = Math.min(
      againInMs === undefined ? LONGEST_REST_MS : againInMs + SLACK_MS,
      pollMs ?? LONGEST_REST_MS,
      isSomeAway || this.#failure ? POLL_MS : LONGEST_REST_MS,
    );
    if (!this.#watch) return await rest(timeoutMs, signal);
    const hasChanged = await this.#watch.next({ timeoutMs, signal });
    await rest(hasChanged ? settleMs + SLACK_MS : 0, signal);
  }

  *#tellFailure(): Generator<WatchEvent> {
    if (this.#failure === undefined || this.#isTold) return;
    this.#isTold = true;
    const reason = `changes in it are not told (${this.#failure}); it is looked at every ${POLL_MS / 1000} s`;
    for (const source of this.#folders) yield { event: 'skipped', source, reason };
  }

  async close(): Promise<void> {
    await this.#watch?.close();
  }
}
