/** When something in a folder changes: the one file that knows how the system tells. What has changed is for others to look up. */
import type { FSWatcher } from 'chokidar';
import { isIn } from './look-at-folder.ts';

export interface FolderWatchOptions {
  /** A folder whose changes do not count. */
  without: string;
  /** Told when the system cannot tell of changes. */
  onFailure: (reason: string) => void;
}

export class FolderWatch {
  readonly #watcher: FSWatcher;
  #hasChanged = false;
  #wake: (() => void) | undefined;

  private constructor(watcher: FSWatcher) {
    this.#watcher = watcher;
  }

  /** Returns when every change from now on will be told. */
  static async open(
    folders: readonly string[],
    { without, onFailure }: FolderWatchOptions,
  ): Promise<FolderWatch> {
    const chokidar = await import('chokidar');
    const watcher = chokidar.watch([...folders], {
      ignoreInitial: true,
      ignorePermissionErrors: true,
      ignored: (path) => isIn(path, without),
    });
    const watch = new FolderWatch(watcher);
    watcher.on('all', () => watch.#changed());
    await new Promise<void>((resolve) => {
      watcher.on('ready', resolve);
      watcher.on('error', (error) => {
        onFailure((error as Error)?.message ?? String(error));
        watch.#changed();
        resolve();
      });
    });
    return watch;
  }

  #changed(): void {
    this.#hasChanged = true;
    this.#wake?.();
  }

  /**
   * Returns with the next change, at once when there was one since the last time; or when the time is over or the signal given.
   * @returns whether something has changed
   */
  async next({
    timeoutMs,
    signal,
  }: {
    timeoutMs?: number;
    signal?: AbortSignal;
  }): Promise<boolean> {
    if (!this.#hasChanged && !signal?.aborted) {
      await new Promise<void>((resolve) => {
        // It also keeps the process alive, which watched folders that are gone do not.
        const timer = setTimeout(wake, timeoutMs);
        function wake(): void {
          clearTimeout(timer);
          signal?.removeEventListener('abort', wake);
          resolve();
        }
        this.#wake = wake;
        signal?.addEventListener('abort', wake);
      });
    }
    const hasChanged = this.#hasChanged;
    this.#wake = undefined;
    this.#hasChanged = false;
    return hasChanged;
  }

  close(): Promise<void> {
    return this.#watcher.close();
  }
}
