/** Switches between the system's theme, light and dark. */
import { useState } from 'preact/hooks';
import { applyTheme, storedTheme, type Theme } from '../state/theme.ts';

const NEXT: Record<Theme, Theme> = { system: 'light', light: 'dark', dark: 'system' };
const SIGN: Record<Theme, string> = { system: '◐', light: '○', dark: '●' };

export function ThemeButton() {
  const [theme, setTheme] = useState(storedTheme);
  const change = (): void => {
    applyTheme(NEXT[theme]);
    setTheme(NEXT[theme]);
  };
  return (
    <button
      type="button"
      class="plain theme"
      onClick={change}
      aria-label={`Theme: ${theme}. Change to ${NEXT[theme]}`}
      title={`Theme: ${theme}`}
    >
      {SIGN[theme]}
    </button>
  );
}
