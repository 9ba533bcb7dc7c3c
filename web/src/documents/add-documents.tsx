/** Adds texts that are dropped, opened or pasted. */
import { useState } from 'preact/hooks';
import type { InfoReply } from '../../../src/server/wire.ts';
import { readText, useDroppedFiles } from '../state/files.ts';
import { type Upload, useUploads } from './use-uploads.ts';

export interface AddDocumentsProps {
  info: InfoReply;
  onAdded: () => void;
}

export function AddDocuments({ info, onAdded }: AddDocumentsProps) {
  const [store, setStore] = useState(info.stores[0]!.name);
  const { uploads, add } = useUploads(onAdded);
  const addFiles = (files: FileList | null): void => {
    for (const file of files ?? []) add({ id: file.name, store, read: () => readText(file) });
  };
  const isOver = useDroppedFiles(addFiles);
  return (
    <section class={`add${isOver ? ' is-over' : ''}`} aria-label="Add documents">
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
      <PasteForm onText={(id, text) => add({ id, store, read: () => Promise.resolve(text) })} />
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
      {/* Announced as it changes, so it is there before it does. */}
      <ul class="uploads" aria-live="polite">
        {uploads.map((one) => (
          <UploadRow key={one.key} upload={one} />
        ))}
      </ul>
    </section>
  );
}

function UploadRow({ upload: { id, state, done, note, replace } }: { upload: Upload }) {
  return (
    <li class={`is-${state}`}>
      <span class="title">{id}</span>
      <span class="meta">
        {note}
        {replace && (
          <button type="button" class="plain" onClick={replace}>
            Replace it
          </button>
        )}
      </span>
      {state === 'adding' && <progress aria-label={`Adding ${id}`} value={done} max={1} />}
    </li>
  );
}

function PasteForm({ onText }: { onText: (name: string, text: string) => void }) {
  const [text, setText] = useState('');
  const [name, setName] = useState('');
  return (
    <details>
      <summary>Paste a text</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onText(name.trim(), text);
          setText('');
          setName('');
        }}
      >
        <label>
          <span class="label">Name</span>
          <input value={name} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <label>
          <span class="label">Text</span>
          <textarea rows={4} value={text} onInput={(event) => setText(event.currentTarget.value)} />
        </label>
        <button type="submit" class="primary" disabled={!name.trim() || !text.trim()}>
          Add
        </button>
      </form>
    </details>
  );
}
