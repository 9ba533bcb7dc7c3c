/** Documents on their way into memory, one after the other. */
import { useRef, useState } from 'preact/hooks';
import type { AddDocumentEvent, AddDocumentRequest } from '../../../src/server/wire.ts';
import { events, RequestFailed } from '../state/api.ts';
import { plural } from '../state/format.ts';

export interface Upload {
  key: number;
  id: string;
  state: 'waiting' | 'adding' | 'added' | 'failed';
  /** 0 to 1, undefined while it cannot be told. */
  done?: number;
  note: string;
  /** Puts it in the place of the document that has its name; offered when one has. */
  replace?: () => void;
}

export interface NewDocument {
  id: string;
  store: string;
  read: () => Promise<string>;
  replace?: boolean;
}

/** @param onAdded told after each that is in */
export function useUploads(onAdded: () => void) {
  const [uploads, setUploads] = useState<readonly Upload[]>([]);
  const queue = useRef<Promise<void>>(Promise.resolve());
  const next = useRef(0);
  const add = (document: NewDocument): void => {
    const key = next.current++;
    const tell = (part: Partial<Upload>): void =>
      setUploads((all) => all.map((one) => (one.key === key ? { ...one, ...part } : one)));
    setUploads((all) => [{ key, id: document.id, state: 'waiting', note: 'waiting' }, ...all]);
    const replace = (): void => {
      setUploads((all) => all.filter((one) => one.key !== key));
      add({ ...document, replace: true });
    };
    queue.current = queue.current.then(async () => {
      tell({ state: 'adding', note: 'reading' });
      try {
        tell({ state: 'added', note: await upload(document, tell) });
        onAdded();
      } catch (error) {
        const isTaken = error instanceof RequestFailed && error.code === 'document_exists';
        tell({
          state: 'failed',
          note: isTaken ? 'Memory has another text of this name.' : (error as Error).message,
          ...(isTaken && { replace }),
        });
      }
    });
  };
  return { uploads, add };
}

/** @returns what to say when it is in */
async function upload(
  { id, store, read, replace }: NewDocument,
  tell: (part: Partial<Upload>) => void,
): Promise<string> {
  const body: AddDocumentRequest = { id, store, text: await read(), replace, stream: true };
  let note = 'added';
  for await (const event of events<AddDocumentEvent>('/v1/knn/documents', { body })) {
    if (event.type === 'progress') {
      const { done, total, phase } = event;
      tell({ done: total ? Math.min(1, done / total) : undefined, note: phase });
    } else if (event.type === 'added') {
      note =
        event.entries === 0
          ? 'an equal text is there already'
          : `${plural(event.entries, 'context')} in ${event.seconds.toFixed(1)} s`;
    }
  }
  return note;
}
