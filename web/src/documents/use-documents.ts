/** The documents that match, fetched in pages as they come into sight. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type { DocumentReply, DocumentsReply } from '../../../src/server/wire.ts';
import { request } from '../state/api.ts';

/** Documents in a page. */
const PAGE = 100;

export interface DocumentList {
  /** undefined until the first page is there. */
  total?: number;
  /** undefined while its page is under way. */
  at: (index: number) => DocumentReply | undefined;
  error?: Error;
  /** Fetches what is missing of a range. */
  want: (from: number, to: number) => void;
  retry: () => void;
}

interface Pages {
  pages: ReadonlyMap<number, DocumentReply[]>;
  total?: number;
  error?: Error;
}

/** @param version another number reads all anew, after a change */
export function useDocuments(
  query: string,
  store: string | undefined,
  version: number,
): DocumentList {
  const [state, setState] = useState<Pages>({ pages: new Map() });
  const asked = useRef(new Set<number>());
  const abort = useRef(new AbortController());
  const [attempt, setAttempt] = useState(0);
  const fetchPage = useCallback(
    (page: number) => {
      if (asked.current.has(page)) return;
      asked.current.add(page);
      const { signal } = abort.current;
      const fields = new URLSearchParams({ offset: String(page * PAGE), limit: String(PAGE) });
      if (query) fields.set('query', query);
      if (store) fields.set('store', store);
      request<DocumentsReply>(`/v1/knn/documents?${fields}`, { signal }).then(
        ({ documents, total }) =>
          !signal.aborted &&
          setState((now) => ({ total, pages: new Map(now.pages).set(page, documents) })),
        (error: Error) => !signal.aborted && setState((now) => ({ ...now, error })),
      );
    },
    [query, store],
  );
  useEffect(() => {
    abort.current = new AbortController();
    asked.current = new Set();
    setState(({ total }) => ({ pages: new Map(), total }));
    fetchPage(0);
    return () => abort.current.abort();
  }, [fetchPage, version, attempt]);
  const want = useCallback(
    (from: number, to: number) => {
      for (let page = Math.floor(from / PAGE); page * PAGE < to; page++) fetchPage(page);
    },
    [fetchPage],
  );
  return {
    total: state.total,
    error: state.error,
    at: (index) => state.pages.get(Math.floor(index / PAGE))?.[index % PAGE],
    want,
    retry: () => setAttempt((count) => count + 1),
  };
}
