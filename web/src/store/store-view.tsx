/** Store: what it takes on disk, how well it is searched, what its settings rest on, and a map of its keys. */
import type { StoreReply } from '../../../src/server/wire.ts';
import type { ViewProps } from '../app.tsx';
import { CopyButtons } from '../parts/copy-buttons.tsx';
import { count, short } from '../state/format.ts';
import { KeyMap } from './key-map.tsx';
import { Quality } from './quality.tsx';
import { Settings } from './settings.tsx';
import { Size } from './size.tsx';

export function StoreView(props: ViewProps) {
  const { info, inspection, amend } = props;
  const store = info.stores.find(({ name }) => name === inspection.store) ?? info.stores[0]!;
  return (
    <div class="store">
      <header class="store-head">
        <h1>{store.name}</h1>
        {info.stores.length > 1 && (
          <label class="inline">
            Store
            <select
              value={store.name}
              onChange={(event) => amend({ store: event.currentTarget.value })}
            >
              {info.stores.map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
            </select>
          </label>
        )}
        <p class="lead">{described(store, info.model.name)}</p>
      </header>
      <KeyMap {...props} store={store} />
      <Size store={store} />
      <Quality store={store} />
      <Settings store={store} />
      <div class="store-foot">
        <CopyButtons json={() => store} />
      </div>
    </div>
  );
}

function described(store: StoreReply, model: string): string {
  const removed =
    store.deleted > 0 ? ` ${count(store.deleted)} removed ones await compaction.` : '';
  const unfinished = store.complete ? '' : ' Its build has not finished.';
  return (
    `${count(store.documents)} documents, read by ${model}: ${count(store.entries)} contexts, each a key of ` +
    `${store.key_dim} numbers and the token that followed. ${short(store.bytes_per_entry)} bytes each.${removed}${unfinished}`
  );
}
