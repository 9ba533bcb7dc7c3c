/** The frame around the views: name, navigation, theme, what is served; and the state they share. */
import type { ComponentType } from 'preact';
import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';
import type { InfoReply } from '../../src/server/wire.ts';
import { KeyForm } from './parts/key-form.tsx';
import { ErrorNote, Waiting } from './parts/states.tsx';
import { ThemeButton } from './parts/theme-button.tsx';
import { request, UNAUTHORIZED } from './state/api.ts';
import { useExclusions } from './state/exclusions.ts';
import { plural, shortCount } from './state/format.ts';
import { type Loaded, type Navigation, useLoaded, useNavigation } from './state/hooks.ts';
import { toFragment, VIEWS, type View } from './state/inspection.ts';
import { WriteView } from './write/write-view.tsx';

export interface ViewProps extends Navigation {
  info: InfoReply;
  /** Reads the server's information again, after a change to a store. */
  refresh: () => void;
}

/** Views that the first picture does not need load when they are opened. */
const LATER: Record<Exclude<View, 'write'>, () => Promise<ComponentType<ViewProps>>> = {
  score: () => import('./score/score-view.tsx').then((module) => module.ScoreView),
  documents: () => import('./documents/documents-view.tsx').then((module) => module.DocumentsView),
  store: () => import('./store/store-view.tsx').then((module) => module.StoreView),
};

const NAMES: Record<View, string> = {
  write: 'Write',
  score: 'Score',
  documents: 'Documents',
  store: 'Store',
};

export function App() {
  const navigation = useNavigation();
  const { view } = navigation.inspection;
  /** Where each view was left; the link of the open view starts it afresh. */
  const left = useRef<Partial<Record<View, string>>>({});
  left.current[view] = toFragment(navigation.inspection);
  const info = useLoaded<InfoReply>('info', (signal) => request('/v1/knn/info', { signal }));
  useExclusions(info.value && navigation.inspection.exclude, info.value, navigation.amend);
  useEffect(() => {
    document.title = `${NAMES[view]} · knnlm`;
  }, [view]);
  return (
    <>
      <a class="skip" href="#main" onClick={focusMain}>
        Skip to the content
      </a>
      <header class="bar">
        <a class="wordmark" href={toFragment({ view: 'write' })}>
          knn<i>lm</i>
        </a>
        <nav aria-label="Views">
          {VIEWS.map((name) => (
            <a
              key={name}
              href={(name !== view && left.current[name]) || toFragment({ view: name })}
              aria-current={name === view ? 'page' : undefined}
            >
              {NAMES[name]}
            </a>
          ))}
        </nav>
        <Served info={info.value} />
        <ThemeButton />
      </header>
      <main id="main" tabIndex={-1}>
        <Content navigation={navigation} info={info} />
      </main>
    </>
  );
}

function Content({ navigation, info }: { navigation: Navigation; info: Loaded<InfoReply> }) {
  const { view } = navigation.inspection;
  const [isLocked, setLocked] = useState(false);
  useLayoutEffect(() => {
    const lock = (): void => setLocked(true);
    addEventListener(UNAUTHORIZED, lock);
    return () => removeEventListener(UNAUTHORIZED, lock);
  }, []);
  const later = useLoaded(view === 'write' ? null : view, async () => ({
    View: await LATER[view as Exclude<View, 'write'>](),
  }));
  if (isLocked) {
    return (
      <KeyForm
        onKey={() => {
          setLocked(false);
          info.retry();
        }}
      />
    );
  }
  if (info.error) return <ErrorNote error={info.error} onRetry={info.retry} />;
  if (!info.value) return <Waiting what="Asking the server what it serves" isSlow={info.isSlow} />;
  const props = { ...navigation, info: info.value, refresh: info.retry };
  if (view === 'write') return <WriteView {...props} />;
  if (later.error) return <ErrorNote error={later.error} onRetry={later.retry} />;
  if (!later.value || later.isLoading) return <Waiting what="Opening" isSlow={later.isSlow} />;
  return <later.value.View {...props} />;
}

function Served({ info }: { info?: InfoReply }) {
  if (!info) return <span class="served" />;
  const entries = info.stores.reduce((sum, store) => sum + store.entries, 0);
  const documents = info.stores.reduce((sum, store) => sum + store.documents, 0);
  return (
    <span class="served" title={`${info.model.name}, knnlm ${info.version}`}>
      {info.model.name} <span class="served-with">with</span> {plural(documents, 'document')}
      <span class="served-with">, {shortCount(entries)} contexts</span>
    </span>
  );
}

/** The fragment holds the state, so the link must not become the address. */
function focusMain(event: Event): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}
