/**
 * Which texts share a block of caches. Few blocks, since a run costs the same weights however many read; but more than one where there are
 * texts enough, so that while one is read the texts of the others do what they do between their tokens.
 */
import type { CacheBlock } from './cache-block.ts';
import type { Sequence } from './sequence.ts';
import type { StepReader } from './step-reader.ts';

/** Most rows of a block. A run of all of them is a pause in the other blocks' streams. */
const MOST_ROWS = 32;
/** Blocks that texts are spread over, and the rows that each has before there is another. */
const BLOCKS = 3;
const LEAST_ROWS = 4;
/** Rows and positions that room is made for at a time, since making it copies the block; one by one where memory is short. */
const AMPLE = { rows: 4, positions: 32 };
const TIGHT = { rows: 1, positions: 1 };
/** Positions without content that cost about as much as a run of one more block. */
const RUN_POSITIONS = 512;

interface BlockSize {
  room: number;
  capacity: number;
}

/** A change that can be made, and by how many bytes the blocks would grow. */
export interface Change {
  growth: number;
  make: () => void;
}

export class CacheBlocks {
  readonly #reader: StepReader;
  #blocks: CacheBlock[] = [];

  constructor(reader: StepReader) {
    this.#reader = reader;
  }

  /** Bytes held, rows without a text included. */
  get bytes(): number {
    this.#blocks = this.#blocks.filter(({ sequences }) => sequences.length > 0);
    return this.#blocks.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Moves a text from a cache of its own into a block. */
  joining(sequence: Sequence, isShort = false): Change {
    const block = this.#blockFor(sequence.cached);
    const { room = 0, capacity = 0, sequences = [] } = block ?? {};
    const step = isShort ? TIGHT : AMPLE;
    const size = {
      room: Math.max(room, roundUp(sequences.length + 1, step.rows)),
      capacity: Math.max(capacity, this.#positions(sequence.cached + 1, step.positions)),
    };
    return {
      growth: this.#bytesOf(size) - (block?.bytes ?? 0) - sequence.ownBytes,
      make: () => {
        const joined = block ?? this.#reader.newBlock(size);
        if (!block) this.#blocks.push(joined);
        joined.resize(size);
        joined.add(sequence);
      },
    };
  }

  /** Makes a block fit its rows and one more position in each. What is unused is given back when it is half of it, or memory is short. */
  fitting(block: CacheBlock, isShort = false): Change {
    const { room, capacity, sequences } = block;
    const step = isShort ? TIGHT : AMPLE;
    const longest = sequences.reduce((most, { cached }) => Math.max(most, cached), 0);
    const resized = (now: number, wanted: number): number =>
      isShort || wanted > now || 2 * wanted <= now ? wanted : now;
    const size = {
      room: Math.min(room, resized(room, roundUp(sequences.length, step.rows))),
      capacity: resized(capacity, this.#positions(longest + 1, step.positions)),
    };
    return { growth: this.#bytesOf(size) - block.bytes, make: () => block.resize(size) };
  }

  /** The block in which a row of so many positions wastes least; undefined when a new one is better, or all are full. */
  #blockFor(cached: number): CacheBlock | undefined {
    const wanted = this.#positions(cached + 1, AMPLE.positions);
    let best: CacheBlock | undefined;
    let least = RUN_POSITIONS;
    const most = this.#mostRows();
    for (const block of this.#blocks) {
      const { sequences, capacity } = block;
      const rows = sequences.length;
      if (rows === 0 || rows >= most) continue;
      const waste = wanted > capacity ? rows * (wanted - capacity) : capacity - wanted;
      if (waste >= least) continue;
      best = block;
      least = waste;
    }
    return best;
  }

  /** With one text more. */
  #mostRows(): number {
    const texts = this.#blocks.reduce((sum, { sequences }) => sum + sequences.length, 1);
    return Math.max(LEAST_ROWS, Math.min(MOST_ROWS, Math.ceil(texts / BLOCKS)));
  }

  #positions(count: number, step: number): number {
    return Math.min(this.#reader.mostPositions, roundUp(count, step));
  }

  #bytesOf({ room, capacity }: BlockSize): number {
    return room * capacity * this.#reader.bytesPerPosition;
  }
}

const roundUp = (count: number, step: number): number => Math.ceil(count / step) * step;
