/** A text to score: typed, pasted, dropped or opened as a file. */
import { useState } from 'preact/hooks';
import { ErrorNote } from '../parts/states.tsx';
import { readText, useDroppedFiles } from '../state/files.ts';

export function TextField({ onScore }: { onScore: (text: string) => void }) {
  const [text, setText] = useState('');
  const [error, setError] = useState<Error>();
  const open = (file: File | undefined): void => {
    setError(undefined);
    if (file) readText(file).then(setText, setError);
  };
  const isOver = useDroppedFiles((files) => open(files[0]));
  const submit = (event: Event): void => {
    event.preventDefault();
    if (text.trim()) onScore(text);
  };
  return (
    <form class={`composer${isOver ? ' is-over' : ''}`} onSubmit={submit}>
      <label>
        <span class="label">Text, typed or pasted, or a file dropped here</span>
        <textarea
          rows={9}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) =>
            event.key === 'Enter' && (event.metaKey || event.ctrlKey) && submit(event)
          }
        />
      </label>
      {error && <ErrorNote error={error} />}
      <div class="row">
        <button type="submit" class="primary" disabled={!text.trim()}>
          Score
        </button>
        <label class="file">
          Open a file
          <input
            type="file"
            accept=".txt,.md,text/*"
            onChange={(event) => open(event.currentTarget.files?.[0])}
          />
        </label>
        <kbd class="soft">Ctrl ↵</kbd>
      </div>
    </form>
  );
}
