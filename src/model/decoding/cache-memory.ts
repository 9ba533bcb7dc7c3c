/**
 * How much memory all attention caches together may take. When it is used up, whoever has none waits; whoever needs more gets it from
 * those that have been idle for long, then from those that have read less, or gives up its own. What a text loses is read again
 * later. The one that has come furthest goes on in any case, so all come to their end; and one alone may have what it needs.
 */
import type { CacheBlock } from './cache-block.ts';
import { CacheBlocks, type Change } from './cache-blocks.ts';
import type { Sequence } from './sequence.ts';
import type { StepReader } from './step-reader.ts';

/** A cache that nobody has asked anything of for so long is idle, in milliseconds. */
export const IDLE_MS = 1000;
/** Positions kept free for each text under way when another begins, so that it is not dropped with their next tokens. */
const HEADROOM = 32;

export class CacheMemory {
  /** All that are open. */
  readonly #sequences: ReadonlySet<Sequence>;
  readonly #limit: number;
  #blocks: CacheBlocks | undefined;
  /** Bytes of a position in the cache; 0 until one was read. */
  #bytesPerPosition = 0;

  /** @param limit bytes */
  constructor(sequences: ReadonlySet<Sequence>, limit: number) {
    this.#sequences = sequences;
    this.#limit = limit;
  }

  /** Bytes held. */
  get bytes(): number {
    let bytes = this.#blocks?.bytes ?? 0;
    for (const sequence of this.#sequences) bytes += sequence.ownBytes;
    return bytes;
  }

  /** From now on caches may be shared. */
  share(reader: StepReader): void {
    this.#blocks = new CacheBlocks(reader);
  }

  /** Learns from a cache what a position takes at most. */
  measure({ ownBytes, cached, state }: Sequence): void {
    if (ownBytes > 0) this.#bytesPerPosition = ownBytes / cached / state.rows;
  }

  /** Whether a text may read `count` tokens more into a cache of its own; otherwise it has lost what it had. */
  admits(sequence: Sequence, count: number): boolean {
    let positions = count;
    if (!sequence.hasCache) {
      positions = sequence.unread.length + HEADROOM;
      for (const other of this.#sequences) if (other.hasCache) positions += HEADROOM;
    }
    const growth = positions * this.#bytesPerPosition;
    const isAdmitted = this.#makeRoom(sequence, () => growth);
    if (isAdmitted || sequence.state.rows > 1) return true;
    if (sequence.hasCache) this.#drop(sequence);
    return false;
  }

  /** Moves a text with a cache of its own into one that is shared, where nobody has to give way for it. */
  join(sequence: Sequence): void {
    this.#tryEach([false, true], (isShort) => this.#blocks!.joining(sequence, isShort));
  }

  /** Makes room for the next position of every row; rows that find none lose theirs. @returns whether any is left */
  fit(block: CacheBlock): boolean {
    const blocks = this.#blocks!;
    while (block.sequences.length > 0) {
      if (this.#tryEach([false, true], (isShort) => blocks.fitting(block, isShort))) return true;
      const furthest = block.sequences.reduce((a, b) => (b.cached > a.cached ? b : a));
      if (this.#makeRoom(furthest, () => blocks.fitting(block, true).growth)) {
        blocks.fitting(block, true).make();
        return true;
      }
      this.#drop(furthest);
    }
    return false;
  }

  /** Makes the first change there is memory for. */
  #tryEach(ways: readonly boolean[], changeFor: (isShort: boolean) => Change): boolean {
    for (const way of ways) {
      const { growth, make } = changeFor(way);
      if (growth > 0 && this.bytes + growth > this.#limit) continue;
      make();
      return true;
    }
    return false;
  }

  /**
   * Drops what must give way for the sake of a text.
   * @param growth bytes wanted, asked again whenever one was dropped
   * @returns false when others hold on to them
   */
  #makeRoom(sequence: Sequence, growth: () => number): boolean {
    for (;;) {
      const wanted = growth();
      if (wanted <= 0 || this.bytes + wanted <= this.#limit) return true;
      const victim = this.#victim(sequence);
      if (!victim) return !this.#othersHold(sequence);
      this.#drop(victim);
    }
  }

  #drop(sequence: Sequence): void {
    const { block } = sequence;
    sequence.dropCache();
    if (block && block.sequences.length > 0) this.#blocks!.fitting(block, true).make();
  }

  #othersHold(sequence: Sequence): boolean {
    for (const other of this.#sequences) if (other !== sequence && other.hasCache) return true;
    return false;
  }

  /** The one that has been idle longest, or else the least advanced of those behind the sequence. */
  #victim(sequence: Sequence): Sequence | undefined {
    const idleSince = performance.now() - IDLE_MS;
    let idle: Sequence | undefined;
    let behind: Sequence | undefined;
    for (const other of this.#sequences) {
      if (other === sequence || !other.hasCache || other.state.rows > 1) continue;
      const { touched, cached } = other;
      if (!other.isAsked && touched < (idle?.touched ?? idleSince)) idle = other;
      if (cached < (behind?.cached ?? sequence.cached)) behind = other;
    }
    return idle ?? behind;
  }
}
