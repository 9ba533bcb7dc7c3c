/** Asks before a document leaves memory. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { RemovedReply } from '../../../src/server/wire.ts';
import { ErrorNote } from '../parts/states.tsx';
import { request } from '../state/api.ts';

export interface RemoveDialogProps {
  id: string;
  store: string;
  onCancel: () => void;
  onRemoved: () => void;
}

export function RemoveDialog({ id, store, onCancel, onRemoved }: RemoveDialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [error, setError] = useState<Error>();
  const [isRemoving, setRemoving] = useState(false);
  useEffect(() => dialog.current!.showModal(), []);
  const remove = (): void => {
    setRemoving(true);
    const path = `/v1/knn/documents/${encodeURIComponent(id)}?${new URLSearchParams({ store })}`;
    request<RemovedReply>(path, { method: 'DELETE' }).then(onRemoved, (failure: Error) => {
      setError(failure);
      setRemoving(false);
    });
  };
  return (
    <dialog ref={dialog} onClose={onCancel} aria-labelledby="remove-title">
      <h2 id="remove-title">Remove “{id}” from memory?</h2>
      <p>
        From the next request on nothing of it is retrieved. Its bytes leave the disk when the store
        is compacted.
      </p>
      {error && <ErrorNote error={error} />}
      <div class="row">
        <button type="button" class="danger" disabled={isRemoving} onClick={remove}>
          {isRemoving ? 'Removing…' : 'Remove'}
        </button>
        <button type="button" onClick={() => dialog.current!.close()}>
          Keep it
        </button>
      </div>
    </dialog>
  );
}
