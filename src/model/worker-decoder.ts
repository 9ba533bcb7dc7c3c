/** A decoder in a worker thread, as its caller sees it. */
import { KnnLMError } from '../errors.ts';
import type { Decoder, ModelInfo, NextToken, ReadStates } from './language-model.ts';
import type { ModelWorkerClient } from './model-worker-client.ts';
import type { StateRoom, StateRooms } from './state-rooms.ts';

export class WorkerDecoder implements Decoder {
  readonly #worker: ModelWorkerClient;
  readonly #id: number;
  readonly #info: ModelInfo;
  #position = 0;
  /** Texts side by side. */
  #rows = 1;
  #closed = false;
  readonly #rooms: StateRooms | undefined;
  readonly #lent: readonly StateRoom[] | undefined;

  /** @param parts.rooms where the states that are read are handed over, if not in memory of their own */
  constructor(
    worker: ModelWorkerClient,
    id: number,
    { info, rooms }: { info: ModelInfo; rooms?: StateRooms },
  ) {
    this.#worker = worker;
    this.#id = id;
    this.#info = info;
    this.#rooms = rooms;
    if (!rooms) return;
    this.#lent = rooms.take();
    const buffers = this.#lent.map(({ buffer }) => buffer);
    // What is read from here on sees it, since the worker takes up requests in order.
    worker.request('lend', { decoder: id, buffers }).catch(() => {});
  }

  get position(): number {
    return this.#position;
  }

  async read(tokens: ArrayLike<number>): Promise<NextToken> {
    this.#checkAlone();
    const request = { decoder: this.#id, tokens: this.#take(tokens) };
    const next = await this.#worker.request('read', request);
    return 'room' in next ? this.#lent![next.room]!.state : next;
  }

  async readAll(tokens: ArrayLike<number>): Promise<ReadStates> {
    this.#checkAlone();
    return this.#readAll(tokens, 'all');
  }

  async readKeys(tokens: ArrayLike<number>): Promise<ReadStates> {
    this.#checkAlone();
    return this.#readAll(tokens, 'keys');
  }

  #readAll(tokens: ArrayLike<number>, wanted: 'all' | 'keys'): Promise<ReadStates> {
    const request = { decoder: this.#id, tokens: this.#take(tokens), wanted };
    return this.#worker.request('readAll', request);
  }

  async step(parents: readonly number[], tokens: ArrayLike<number>): Promise<ReadStates> {
    const isRow = (row: number): boolean => Number.isInteger(row) && row >= 0 && row < this.#rows;
    if (parents.length !== tokens.length || !parents.every(isRow) || this.#position === 0) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `A step takes a token for each text it goes on with, one of the ${this.#rows} before it, and something must have been read.`,
      );
    }
    const ids = this.#take(tokens, 1);
    this.#rows = parents.length;
    return this.#worker.request('step', { decoder: this.#id, parents, tokens: ids });
  }

  #checkAlone(): void {
    if (this.#rows === 1) return;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The decoder reads ${this.#rows} texts side by side: go on with steps, or reset it.`,
    );
  }

  /** Checked, and counted as read. @param count tokens of each text */
  #take(tokens: ArrayLike<number>, count = tokens.length): Int32Array {
    const { contextLength, vocabSize } = this.#info;
    if (this.#closed) throw new KnnLMError('INVALID_ARGUMENT', 'This decoder was closed.');
    if (tokens.length === 0) {
      throw new KnnLMError('INVALID_ARGUMENT', 'A decoder must be given at least one token.');
    }
    if (this.#position + count > contextLength) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `The model reads at most ${contextLength} tokens, but this would be token ${this.#position + count}. Reset the decoder and give it a shorter text.`,
      );
    }
    const ids = Int32Array.from(tokens);
    checkTokens(ids, vocabSize);
    this.#position += count;
    return ids;
  }

  reset(): void {
    this.#position = 0;
    this.#rows = 1;
    // The worker answers in order: a read that follows sees the reset. Its failure would show in that read.
    this.#worker.request('reset', this.#id).catch(() => {});
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#worker.request('endDecoding', this.#id).then(
      // From then on nothing is written to it any more.
      () => this.#lent && this.#rooms!.give(this.#lent),
      () => {},
    );
  }
}

/** Errors: `INVALID_ARGUMENT`. */
export function checkTokens(ids: Int32Array, vocabSize: number): void {
  for (let i = 0; i < ids.length; i++) {
    if (ids[i]! >= 0 && ids[i]! < vocabSize) continue;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `Token ids must lie between 0 and ${vocabSize - 1}, but one is ${ids[i]}. Encode the text with this model's tokenizer.`,
    );
  }
}
