/** A text to score: typed, pasted, dropped or opened as a file. */
import { useState } from 'preact/hooks';

export function TextField({ onScore }: { onScore: (text: string) => void }) {
  const [text, setText] = useState('');
  const [isOver, setOver] = useState(false);
  const drop = (event: DragEvent): void => {
    event.preventDefault();
    setOver(false);
    const file = event.dataTransfer?.files[0];
    if (file) void file.text().then(setText);
    else setText(event.dataTransfer?.getData('text/plain') ?? '');
  };
  return (
    <form
      class={`composer${isOver ? ' is-over' : ''}`}
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim()) onScore(text);
      }}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <label>
        <span class="label">Text, typed or pasted, or a file dropped here</span>
        <textarea
          rows={9}
          value={text}
          onInput={(event) => setText(event.currentTarget.value)}
          onKeyDown={(event) =>
            event.key === 'Enter' &&
            (event.metaKey || event.ctrlKey) &&
            text.trim() &&
            onScore(text)
          }
        />
      </label>
      <div class="row">
        <button type="submit" class="primary" disabled={!text.trim()}>
          Score
        </button>
        <label class="file">
          Open a file
          <input
            type="file"
            accept=".txt,.md,text/*"
            onChange={(event) => void event.currentTarget.files?.[0]?.text().then(setText)}
          />
        </label>
        <kbd class="soft">Ctrl ↵</kbd>
      </div>
    </form>
  );
}
