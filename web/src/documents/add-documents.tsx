/** Adds texts that are dropped, opened or pasted, one after the other, with progress. */
import { useRef, useState } from 'preact/hooks';
import type { AddDocumentEvent, InfoReply } from '../../../src/server/wire.ts';
import { events } from '../state/api.ts';
import { plural } from '../state/format.ts';

export interface AddDocumentsProps {
  info: InfoReply;
  onAdded: () => void;
}

interface Upload {
  id: string;
  state: 'waiting' | 'adding' | 'added' | 'failed';
  /** 0 to 1, undefined while it cannot be told. */
  done?: number;
  note: string;
}

export function AddDocuments({ info, onAdded }: AddDocumentsProps) {
  const [uploads, setUploads] = useState<Upload[]>([]);
  const [isOver, setOver] = useState(false);
  const [pasted, setPasted] = useState('');
  const [name, setName] = useState('');
  const [store, setStore] = useState(info.stores[0]!.name);
  const queue = useRef<Promise<void>>(Promise.resolve());
  const add = (id: string, read: () => Promise<string>): void => {
    const tell = (part: Partial<Upload>): void =>
      setUploads((all) => all.map((one) => (one === find(all, id) ? { ...one, ...part } : one)));
    setUploads((all) => [{ id, state: 'waiting', note: 'waiting' }, ...all]);
    queue.current = queue.current.then(async () => {
      tell({ state: 'adding', note: 'reading' });
      try {
        const note = await upload({ id, store, text: await read() }, tell);
        tell({ state: 'added', done: 1, note });
        onAdded();
      } catch (error) {
        tell({ state: 'failed', note: (error as Error).message });
      }
    });
  };
  const addFiles = (files: FileList | null | undefined): void => {
    for (const file of files ?? []) add(file.name, () => file.text());
  };
  return (
    <section
      class={`add${isOver ? ' is-over' : ''}`}
      aria-label="Add documents"
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        addFiles(event.dataTransfer?.files);
      }}
    >
      <p class="add-line">
        Drop text files here, or{' '}
        <label class="file">
          choose files
          <input
            type="file"
            multiple
            accept=".txt,.md,text/*"
            onChange={(event) => {
              addFiles(event.currentTarget.files);
              event.currentTarget.value = '';
            }}
          />
        </label>
      </p>
      <details>
        <summary>Paste a text</summary>
        <form
          onSubmit={(event) => {
            event.preventDefault();
            const text = pasted;
            add(name.trim(), () => Promise.resolve(text));
            setPasted('');
            setName('');
          }}
        >
          <label>
            <span class="label">Name</span>
            <input value={name} onInput={(event) => setName(event.currentTarget.value)} />
          </label>
          <label>
            <span class="label">Text</span>
            <textarea
              rows={4}
              value={pasted}
              onInput={(event) => setPasted(event.currentTarget.value)}
            />
          </label>
          <button type="submit" class="primary" disabled={!name.trim() || !pasted.trim()}>
            Add
          </button>
        </form>
      </details>
      {info.stores.length > 1 && (
        <label class="inline">
          Into
          <select value={store} onChange={(event) => setStore(event.currentTarget.value)}>
            {info.stores.map((one) => (
              <option key={one.name}>{one.name}</option>
            ))}
          </select>
        </label>
      )}
      <ul class="uploads" aria-live="polite">
        {uploads.map((one, index) => (
          <li key={uploads.length - index} class={`is-${one.state}`}>
            <span class="title">{one.id}</span>
            {one.state === 'adding' && (
              <progress aria-label={`Adding ${one.id}`} value={one.done} max={1} />
            )}
            <span class="meta">{one.note}</span>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** The newest upload of a name that has not ended. */
function find(uploads: readonly Upload[], id: string): Upload | undefined {
  const open = uploads.filter(
    (one) => one.id === id && one.state !== 'added' && one.state !== 'failed',
  );
  return open.at(-1);
}

/** @returns what to say when it is in */
async function upload(
  document: { id: string; store: string; text: string },
  tell: (part: Partial<Upload>) => void,
): Promise<string> {
  const body = { ...document, stream: true };
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
