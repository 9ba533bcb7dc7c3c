/** Several streams as one, each item as soon as it is there. */

interface Step<Item> {
  stream: AsyncIterator<Item, unknown>;
  result: IteratorResult<Item, unknown>;
}

/** Of each stream one item at most is made ahead. Ends when all have ended, or with the first that fails; then the others are ended too. */
export async function* merge<Item>(sources: readonly AsyncIterable<Item>[]): AsyncGenerator<Item> {
  const streams = sources.map((source) => source[Symbol.asyncIterator]());
  const ready: Promise<Step<Item>>[] = [];
  let wake = (): void => undefined;
  const start = (stream: AsyncIterator<Item, unknown>): void => {
    const step = stream.next().then((result) => ({ stream, result }));
    const arrive = (): void => {
      ready.push(step);
      wake();
    };
    step.then(arrive, arrive);
  };
  for (const stream of streams) start(stream);
  let running = streams.length;
  try {
    while (running > 0) {
      if (ready.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      const { stream, result } = await ready.shift()!;
      if (result.done) running--;
      else {
        yield result.value;
        start(stream);
      }
    }
  } finally {
    await Promise.all(streams.map((stream) => stream.return?.().then(undefined, () => undefined)));
  }
}
