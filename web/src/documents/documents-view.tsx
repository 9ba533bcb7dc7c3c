/** Documents: what memory holds; add, search, read and remove. */
import { useState } from 'preact/hooks';
import type { ViewProps } from '../app.tsx';
import { Empty, ErrorNote, Waiting } from '../parts/states.tsx';
import { VirtualList } from '../parts/virtual-list.tsx';
import { count, plural, shortCount } from '../state/format.ts';
import { useSettled } from '../state/hooks.ts';
import { AddDocuments } from './add-documents.tsx';
import { Lately } from './lately.tsx';
import { Reader } from './reader.tsx';
import { RemoveDialog } from './remove-dialog.tsx';
import { useDocuments } from './use-documents.ts';

/** Pixels; the style of a row fits into it. */
const ROW = 60;

export function DocumentsView({ info, inspection, amend, refresh }: ViewProps) {
  const { query = '', document } = inspection;
  const [version, setVersion] = useState(0);
  const [removing, setRemoving] = useState<{ id: string; store: string }>();
  const [removed, setRemoved] = useState('');
  const documents = useDocuments(useSettled(query, 150), undefined, version);
  const changed = (): void => {
    setVersion((number) => number + 1);
    refresh();
  };
  const isOpen = document !== undefined;
  return (
    <div class={`documents${isOpen ? ' has-document' : ''}`}>
      <h1 class="visually-hidden">Documents</h1>
      <section class="shelf" aria-label="Documents">
        {info.writable ? (
          <AddDocuments info={info} onAdded={changed} />
        ) : (
          <p class="soft">Documents are not added or removed here: the server only reads.</p>
        )}
        <label class="search">
          <span class="visually-hidden">Search documents by name</span>
          <input
            type="search"
            placeholder={`Search ${documents.total === undefined ? '' : count(documents.total)} documents by name`}
            value={query}
            onInput={(event) => amend({ query: event.currentTarget.value || undefined })}
          />
        </label>
        <p class="soft" role="status">
          {removed && `“${removed}” has left memory.`}
        </p>
        {documents.error && <ErrorNote error={documents.error} onRetry={documents.retry} />}
        {documents.total === undefined && !documents.error && (
          <Waiting what="Listing the documents" />
        )}
        {documents.total === 0 &&
          (query ? (
            <Empty title={`No document is called “${query}”.`}>
              <button type="button" onClick={() => amend({ query: undefined })}>
                Show all
              </button>
            </Empty>
          ) : (
            <Empty title="Memory is empty.">
              <p>Drop a text above, and the model will remember it from the next word on.</p>
            </Empty>
          ))}
        {documents.total !== undefined && documents.total > 0 && (
          <VirtualList
            class="shelf-list"
            label={plural(documents.total, 'document')}
            count={documents.total}
            rowHeight={ROW}
            onRange={documents.want}
            row={(index) => {
              const row = documents.at(index);
              if (!row) return <div class="document is-coming" aria-hidden="true" />;
              const isCurrent = row.id === document;
              return (
                <div class={`document${isCurrent ? ' is-current' : ''}`}>
                  <button
                    type="button"
                    class="title"
                    title={row.id}
                    aria-current={isCurrent ? 'true' : undefined}
                    onClick={() =>
                      amend({ document: row.id, store: row.store, position: undefined })
                    }
                  >
                    {row.id}
                  </button>
                  <span class="meta">
                    {shortCount(row.entries)} {row.entries === 1 ? 'context' : 'contexts'}
                    {info.stores.length > 1 && ` in ${row.store}`}
                    {row.contribution.tokens > 0 &&
                      `, behind ${plural(row.contribution.tokens, 'token')} lately`}
                  </span>
                  {info.writable && (
                    <button
                      type="button"
                      class="plain remove"
                      aria-label={`Remove ${row.id}`}
                      onClick={() => setRemoving(row)}
                    >
                      Remove
                    </button>
                  )}
                </div>
              );
            }}
          />
        )}
      </section>
      {isOpen ? (
        <Reader
          key={`${inspection.store}/${document}/${version}`}
          id={document}
          store={inspection.store}
          position={inspection.position}
          isWritable={info.writable}
          onClose={() => amend({ document: undefined, store: undefined, position: undefined })}
          onRemove={(store) => setRemoving({ id: document, store })}
        />
      ) : (
        <div class="reader is-idle">
          <Lately version={version} onOpen={(id, store) => amend({ document: id, store })} />
        </div>
      )}
      {removing && (
        <RemoveDialog
          {...removing}
          onCancel={() => setRemoving(undefined)}
          onRemoved={() => {
            if (removing.id === document) amend({ document: undefined, position: undefined });
            setRemoving(undefined);
            setRemoved(removing.id);
            changed();
          }}
        />
      )}
    </div>
  );
}
