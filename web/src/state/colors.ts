/** The page's colors for a canvas, which knows neither custom properties nor `light-dark()`. */

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
