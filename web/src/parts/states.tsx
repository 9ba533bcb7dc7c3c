/** How waiting, failing and having nothing look, everywhere alike. */
import type { ComponentChildren } from 'preact';

export function Waiting({ what, isSlow }: { what: string; isSlow?: boolean }) {
  return (
    <div class="state waiting" role="status">
      <span class="dots" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      <p>{what}…</p>
      {isSlow && <p class="soft">This takes longer than usual. The server may be busy.</p>}
    </div>
  );
}

export function ErrorNote({ error, onRetry }: { error: Error; onRetry?: () => void }) {
  return (
    <div class="state error" role="alert">
      <p>{error.message}</p>
      {onRetry && (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="state empty">
      <p class="empty-title">{title}</p>
      {children}
    </div>
  );
}
