/** A document as memory holds it, opened at a place, with more on either side when asked for. */
import type { RefObject } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { DocumentTextReply } from '../../../src/server/wire.ts';
import { ErrorNote, Waiting } from '../parts/states.tsx';
import { request } from '../state/api.ts';
import { percent, plural, visibleToken } from '../state/format.ts';
import { useLoaded } from '../state/hooks.ts';

/** Tokens told around a place, and more each time. */
const AROUND = 400;
const MORE = 1000;

export interface ReaderProps {
  id: string;
  store: string | undefined;
  position: number | undefined;
  isWritable: boolean;
  onClose: () => void;
  onRemove: (store: string) => void;
}

export function Reader({ id, store, position, isWritable, onClose, onRemove }: ReaderProps) {
  const [range, setRange] = useState(() => ({
    from: Math.max(0, (position ?? 0) - AROUND),
    limit: position === undefined ? MORE : 2 * AROUND,
  }));
  const marked = useRef<HTMLElement>(null);
  const loaded = useLoaded(`${id}\n${store}\n${range.from}\n${range.limit}`, (signal) =>
    readPieces(id, store, range, signal),
  );
  const { value } = loaded;
  const isHere = value !== undefined;
  useEffect(() => {
    if (isHere) marked.current?.scrollIntoView({ block: 'center' });
  }, [isHere]);
  const at = position === undefined || !value ? -1 : position - value.from;
  const more = (side: 'before' | 'after'): void =>
    setRange(({ from, limit }) => {
      const earlier = side === 'before' ? Math.min(from, MORE) : MORE;
      return { from: side === 'before' ? from - earlier : from, limit: limit + earlier };
    });
  return (
    <article class="reader" aria-label={id}>
      <header>
        <h2>{id}</h2>
        <button type="button" class="plain close" onClick={onClose} aria-label="Close the document">
          ×
        </button>
        {value && (
          <p class="meta">
            <span>{described(value)}</span>
            {isWritable && (
              <button type="button" class="danger" onClick={() => onRemove(value.document.store)}>
                Remove from memory
              </button>
            )}
          </p>
        )}
      </header>
      {loaded.error && <ErrorNote error={loaded.error} onRetry={loaded.retry} />}
      {!value && loaded.isLoading && <Waiting what="Opening the document" isSlow={loaded.isSlow} />}
      {value && (
        <div class="reader-text" tabIndex={0} role="region" aria-label="Text of the document">
          {value.from > 0 && (
            <button type="button" class="plain" onClick={() => more('before')}>
              {plural(value.from, 'token')} before this
            </button>
          )}
          <div class="prose">
            {value.pieces.slice(0, Math.max(0, at)).join('')}
            {at >= 0 && at < value.pieces.length && (
              <Marked piece={value.pieces[at]!} mark={marked} />
            )}
            {value.pieces.slice(at + 1).join('')}
          </div>
          {value.from + value.pieces.length < value.total && (
            <button type="button" class="plain" onClick={() => more('after')}>
              {plural(value.total - value.from - value.pieces.length, 'token')} after this
            </button>
          )}
        </div>
      )}
    </article>
  );
}

function described({ document: { entries, contribution } }: DocumentTextReply): string {
  const contexts = plural(entries, 'context');
  if (contribution.tokens === 0) return contexts;
  const share = percent(contribution.share / contribution.tokens);
  return `${contexts}. Lately behind ${plural(contribution.tokens, 'token')}, with ${share} of each on average.`;
}

/** Without the space before it and the break after it. */
function Marked({ piece, mark }: { piece: string; mark: RefObject<HTMLElement | null> }) {
  const [, before, inside, after] = /^(\s*)(.*?)(\s*)$/s.exec(piece)!;
  return (
    <>
      {inside && before}
      <mark ref={mark}>{inside || visibleToken(piece)}</mark>
      {inside ? after : piece}
    </>
  );
}

/** The server tells so many tokens at a time. */
const PAGE = 4096;

async function readPieces(
  id: string,
  store: string | undefined,
  { from, limit }: { from: number; limit: number },
  signal: AbortSignal,
): Promise<DocumentTextReply> {
  let whole: DocumentTextReply | undefined;
  for (let start = from; start < from + limit; start += PAGE) {
    const fields = new URLSearchParams({
      from: String(start),
      limit: String(Math.min(PAGE, from + limit - start)),
    });
    if (store) fields.set('store', store);
    const path = `/v1/knn/documents/${encodeURIComponent(id)}?${fields}`;
    const part = await request<DocumentTextReply>(path, { signal });
    if (whole) whole.pieces.push(...part.pieces);
    else whole = part;
    if (start + part.pieces.length >= part.total) break;
  }
  return whole!;
}
