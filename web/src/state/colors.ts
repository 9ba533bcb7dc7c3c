/** The page's colors for a canvas, which knows neither custom properties nor `light-dark()`. */
import { useEffect, useState } from 'preact/hooks';

/** Colors by the name of their custom property, as they are now. */
export function pageColors(): (name: string) => string {
  const probe = document.createElement('span');
  document.body.append(probe);
  const style = getComputedStyle(probe);
  const known = new Map<string, string>();
  // Read and forget at once: a later change of theme is read by the next drawing.
  queueMicrotask(() => probe.remove());
  return (name) => {
    const color = known.get(name);
    if (color !== undefined) return color;
    probe.style.color = `var(${name})`;
    known.set(name, style.color);
    return style.color;
  };
}

/** Another value whenever the page's colors change, so that a canvas is drawn anew. */
export function useTheme(): number {
  const [version, setVersion] = useState(0);
  useEffect(() => {
    const change = (): void => setVersion((now) => now + 1);
    const system = matchMedia('(prefers-color-scheme: dark)');
    const observer = new MutationObserver(change);
    system.addEventListener('change', change);
    observer.observe(document.documentElement, { attributeFilter: ['data-theme'] });
    return () => {
      system.removeEventListener('change', change);
      observer.disconnect();
    };
  }, []);
  return version;
}
