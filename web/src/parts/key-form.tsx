/** Asks for the API key when the server wants one. */
import { useState } from 'preact/hooks';
import { setApiKey } from '../state/api.ts';

export function KeyForm({ onKey }: { onKey: () => void }) {
  const [key, setKey] = useState('');
  const submit = (event: Event): void => {
    event.preventDefault();
    setApiKey(key.trim());
    onKey();
  };
  return (
    <form class="state key-form" onSubmit={submit}>
      <label>
        <span>This server asks for an API key. It is kept for this tab only.</span>
        <input
          type="password"
          autocomplete="off"
          value={key}
          onInput={(event) => setKey(event.currentTarget.value)}
        />
      </label>
      <button type="submit" class="primary" disabled={!key.trim()}>
        Open
      </button>
    </form>
  );
}
