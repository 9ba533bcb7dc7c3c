/** The hooks all views share: the address, loading, a value that settles. */
import { useCallback, useEffect, useLayoutEffect, useState } from 'preact/hooks';
import { fromFragment, type Inspection, toFragment } from './inspection.ts';

/** After this long a wait is called slow, in words. */
const SLOW_MS = 3000;

export interface Navigation {
  inspection: Inspection;
  /** Changes some of the state in place: no step back in the browser's history. */
  amend: (part: Partial<Inspection>) => void;
  /** Goes somewhere else, with a step back. */
  go: (to: Inspection) => void;
}

export function useNavigation(): Navigation {
  const [inspection, setInspection] = useState(() => fromFragment(location.hash));
  // At once: an address that changes before the next frame would be missed.
  useLayoutEffect(() => {
    const read = (): void => setInspection(fromFragment(location.hash));
    addEventListener('hashchange', read);
    return () => removeEventListener('hashchange', read);
  }, []);
  const amend = useCallback((part: Partial<Inspection>) => {
    const next = { ...fromFragment(location.hash), ...part };
    history.replaceState(null, '', toFragment(next));
    setInspection(next);
  }, []);
  const go = useCallback((to: Inspection) => {
    history.pushState(null, '', toFragment(to));
    setInspection(to);
  }, []);
  return { inspection, amend, go };
}

export interface Loaded<T> {
  /** The last value, kept while a newer one is loading. */
  value?: T;
  error?: Error;
  isLoading: boolean;
  /** It takes unusually long. */
  isSlow: boolean;
  retry: () => void;
}

/** Loads again whenever `key` changes; the one before is aborted. A key of null loads nothing. */
export function useLoaded<T>(
  key: string | null,
  load: (signal: AbortSignal) => Promise<T>,
): Loaded<T> {
  const [state, setState] = useState<Omit<Loaded<T>, 'retry'>>({
    isLoading: key !== null,
    isSlow: false,
  });
  const [attempt, setAttempt] = useState(0);
  // The key stands for everything that `load` reads.
  useEffect(() => {
    if (key === null) {
      setState({ isLoading: false, isSlow: false });
      return;
    }
    const abort = new AbortController();
    setState(({ value }) => ({ value, isLoading: true, isSlow: false }));
    const timer = setTimeout(() => setState((now) => ({ ...now, isSlow: now.isLoading })), SLOW_MS);
    load(abort.signal).then(
      (value) => !abort.signal.aborted && setState({ value, isLoading: false, isSlow: false }),
      (error: Error) =>
        !abort.signal.aborted && setState({ error, isLoading: false, isSlow: false }),
    );
    return () => {
      clearTimeout(timer);
      abort.abort();
    };
  }, [key, attempt]);
  return { ...state, retry: () => setAttempt((count) => count + 1) };
}

/** The value once it has not changed for some time. */
export function useSettled<T>(value: T, milliseconds: number): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), milliseconds);
    return () => clearTimeout(timer);
  }, [value, milliseconds]);
  return settled;
}
