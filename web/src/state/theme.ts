/** Light, dark, or what the system says. */

const NAME = 'knnlm-theme';
export type Theme = 'system' | 'light' | 'dark';

export function storedTheme(): Theme {
  const theme = localStorage.getItem(NAME);
  return theme === 'light' || theme === 'dark' ? theme : 'system';
}

export function applyTheme(theme: Theme = storedTheme()): void {
  if (theme === 'system') localStorage.removeItem(NAME);
  else localStorage.setItem(NAME, theme);
  document.documentElement.dataset.theme = theme;
}
