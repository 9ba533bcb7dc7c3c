/** A list of rows of one height of which only those in sight are in the page. */
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

/** Rows kept above and below what is in sight. */
const MARGIN = 6;

export interface VirtualListProps {
  label: string;
  count: number;
  /** Pixels. */
  rowHeight: number;
  row: (index: number) => ComponentChildren;
  /** Told which rows are in the page, whenever that changes. */
  onRange?: (from: number, to: number) => void;
  class?: string;
}

export function VirtualList({ label, count, rowHeight, row, onRange, ...props }: VirtualListProps) {
  const box = useRef<HTMLDivElement>(null);
  const [window, setWindow] = useState({ top: 0, height: 600 });
  useEffect(() => {
    const element = box.current!;
    const read = (): void => setWindow({ top: element.scrollTop, height: element.clientHeight });
    const observer = new ResizeObserver(read);
    observer.observe(element);
    element.addEventListener('scroll', read, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener('scroll', read);
    };
  }, []);
  const from = Math.max(0, Math.floor(window.top / rowHeight) - MARGIN);
  const to = Math.min(count, Math.ceil((window.top + window.height) / rowHeight) + MARGIN);
  useEffect(() => onRange?.(from, to), [onRange, from, to]);
  const rows: ComponentChildren[] = [];
  for (let index = from; index < to; index++) {
    rows.push(
      <div
        key={index}
        role="listitem"
        aria-setsize={count}
        aria-posinset={index + 1}
        class="virtual-row"
        style={{ transform: `translateY(${index * rowHeight}px)`, height: `${rowHeight}px` }}
      >
        {row(index)}
      </div>,
    );
  }
  return (
    // A region that scrolls must be reachable by keyboard.
    <div
      ref={box}
      class={`virtual ${props.class ?? ''}`}
      tabIndex={0}
      role="region"
      aria-label={label}
    >
      <div role="list" class="virtual-space" style={{ height: `${count * rowHeight}px` }}>
        {rows}
      </div>
    </div>
  );
}
