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
  /** Selector of the element around it that scrolls. Default: the list scrolls by itself. */
  scroller?: string;
}

interface Sight {
  /** Pixels of the list above what is in sight, and in sight. */
  top: number;
  height: number;
}

export function VirtualList({ label, count, rowHeight, row, onRange, ...props }: VirtualListProps) {
  const box = useRef<HTMLDivElement>(null);
  const [sight, setSight] = useState<Sight>({ top: 0, height: 600 });
  const look = useRef<() => void>(() => undefined);
  look.current = () => {
    // An observer may report once more after the list is gone.
    if (!box.current) return;
    const seen = inSight(box.current, props.scroller);
    if (seen.top !== sight.top || seen.height !== sight.height) setSight(seen);
  };
  useEffect(() => {
    const element = props.scroller ? box.current!.closest(props.scroller)! : box.current!;
    const read = (): void => look.current();
    const observer = new ResizeObserver(read);
    observer.observe(element);
    // What stands above a list that does not scroll by itself may grow. To ask at each drawing would cost a layout each.
    if (props.scroller) observer.observe(contentOf(element, box.current!));
    element.addEventListener('scroll', read, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener('scroll', read);
    };
  }, [props.scroller]);
  const from = Math.max(0, Math.floor(sight.top / rowHeight) - MARGIN);
  const to = Math.min(count, Math.ceil((sight.top + sight.height) / rowHeight) + MARGIN);
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
  const list = (
    <div
      role="list"
      aria-label={props.scroller ? label : undefined}
      class="virtual-space"
      style={{ height: `${count * rowHeight}px` }}
    >
      {rows}
    </div>
  );
  if (props.scroller) {
    return (
      <div ref={box} class={props.class}>
        {list}
      </div>
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
      {list}
    </div>
  );
}

/** The child of an element that holds another. */
function contentOf(element: Element, inner: Element): Element {
  let content = inner;
  while (content.parentElement !== element) content = content.parentElement!;
  return content;
}

function inSight(box: HTMLElement, scroller: string | undefined): Sight {
  if (!scroller) return { top: box.scrollTop, height: box.clientHeight };
  const around = box.closest(scroller)!;
  const above = around.getBoundingClientRect().top - box.getBoundingClientRect().top;
  return { top: Math.max(0, above), height: around.clientHeight };
}
