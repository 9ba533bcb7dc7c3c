/** Documents that are left out, and have left memory since. */
import { useEffect } from 'preact/hooks';
import { RequestFailed, request } from './api.ts';
import type { Navigation } from './hooks.ts';

/**
 * The server refuses to leave out what is not there, and once a document was removed there is nothing to leave out.
 * @param refreshed what changes with the documents
 */
export function useExclusions(
  exclude: readonly string[] = [],
  refreshed: unknown,
  amend: Navigation['amend'],
): void {
  useEffect(() => {
    const abort = new AbortController();
    const looks = exclude.map((id) => isInMemory(id, abort.signal));
    void Promise.all(looks).then((isThere) => {
      if (abort.signal.aborted || isThere.every(Boolean)) return;
      amend({ exclude: exclude.filter((_, at) => isThere[at]) });
    });
    return () => abort.abort();
  }, [exclude.join('\n'), refreshed]);
}

/** Anything but a clear no is a yes. */
async function isInMemory(id: string, signal: AbortSignal): Promise<boolean> {
  try {
    await request(`/v1/knn/documents/${encodeURIComponent(id)}?from=0&limit=1`, { signal });
    return true;
  } catch (error) {
    return !(error instanceof RequestFailed && error.status === 404);
  }
}
