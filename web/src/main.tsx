/** Where the page starts. */
import { render } from 'preact';
import { App } from './app.tsx';
import './styles/base.css';
import './styles/parts.css';
import './styles/reading.css';
import './styles/token.css';
import './styles/views.css';
import { applyTheme } from './state/theme.ts';

applyTheme();
render(<App />, document.getElementById('app')!);
