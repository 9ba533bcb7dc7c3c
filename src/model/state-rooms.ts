/**
 * Memory in which a decoder's states cross from the model's thread, used again and again. A new array for each token, 32 kB for a
 * vocabulary of 8,192, would be garbage that the collector hears of by its size: it then looks through the whole heap every second or two,
 * for which the event loop waits.
 */
import type { ModelInfo, NextToken } from './language-model.ts';

/** While one state is in use the next is being read. */
const PER_DECODER = 2;

export interface StateRoom {
  /** d + V numbers in single precision: the key, then the log-probabilities. */
  buffer: SharedArrayBuffer;
  state: NextToken;
}

export class StateRooms {
  readonly #info: Pick<ModelInfo, 'keyDim' | 'vocabSize'>;
  /** Given back by decoders that have ended. */
  readonly #free: (readonly StateRoom[])[] = [];

  constructor(info: Pick<ModelInfo, 'keyDim' | 'vocabSize'>) {
    this.#info = info;
  }

  /** Rooms for a decoder, until it ends. */
  take(): readonly StateRoom[] {
    return this.#free.pop() ?? Array.from({ length: PER_DECODER }, () => this.#make());
  }

  /** Of a decoder that has ended. */
  give(rooms: readonly StateRoom[]): void {
    this.#free.push(rooms);
  }

  #make(): StateRoom {
    const { keyDim, vocabSize } = this.#info;
    const buffer = new SharedArrayBuffer(4 * (keyDim + vocabSize));
    const key = new Float32Array(buffer, 0, keyDim);
    return { buffer, state: { key, logProbs: new Float32Array(buffer, 4 * keyDim) } };
  }
}

/** The other side: what a worker writes to. */
export class LentRooms {
  /** By decoder. */
  readonly #rooms = new Map<number, { rooms: Float32Array[]; next: number }>();

  /** @param buffers of d + V numbers each, taken in turn */
  lend(decoder: number, buffers: readonly SharedArrayBuffer[]): void {
    this.#rooms.set(decoder, {
      rooms: buffers.map((buffer) => new Float32Array(buffer)),
      next: 0,
    });
  }

  /** From here on they belong to somebody else. */
  end(decoder: number): void {
    this.#rooms.delete(decoder);
  }

  /** @param state key (d), log-probabilities (V) @returns the number of the room that holds the state now; undefined where there is none, or it is of another size */
  put(decoder: number, { key, logProbs }: NextToken): number | undefined {
    const lent = this.#rooms.get(decoder);
    const room = lent?.rooms[lent.next];
    if (!lent || room?.length !== key.length + logProbs.length) return undefined;
    room.set(key);
    room.set(logProbs, key.length);
    const number = lent.next;
    lent.next = (number + 1) % lent.rooms.length;
    return number;
  }
}
