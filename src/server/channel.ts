/** From callbacks to a stream: what is reported while nobody reads is replaced by what is reported next. */
export class Channel<Item> implements AsyncIterable<Item> {
  #latest: Item | undefined;
  #last: { item: Item } | { error: unknown } | undefined;
  #wake: () => void = () => undefined;

  /** Takes the place of an item that has not been read. */
  replace(item: Item): void {
    this.#latest = item;
    this.#wake();
  }

  end(item: Item): void {
    this.#last = { item };
    this.#wake();
  }

  fail(error: unknown): void {
    this.#last = { error };
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Item> {
    for (;;) {
      const item = this.#latest;
      this.#latest = undefined;
      if (item !== undefined) yield item;
      else if (this.#last) break;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
    if ('error' in this.#last) throw this.#last.error;
    yield this.#last.item;
  }
}
