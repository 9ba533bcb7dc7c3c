/** Whatever is sent: an answer that is what its schema says, never a fault of the server, never a wait without end, nothing of one request in another. */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { ROUTES } from '../../dist/server/routes/index.js';
import { eventsOf, roughly, stories, TestServer, TestStore } from './support.ts';

const store = new TestStore();
let knnlm: KnnLM;
let server: TestServer;

beforeAll(async () => {
  knnlm = await store.open();
  // Limits small enough that fuzzed requests meet them.
  server = new TestServer(knnlm, {
    concurrency: 3,
    maxTokens: 8,
    promptTokens: 200,
    bodyBytes: 16_000,
    readOnly: true,
  });
});

const junk = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom(
    null,
    -1,
    0,
    1e308,
    2 ** 53,
    0.5,
    '',
    '\u0000',
    '\ud800',
    '🦊',
    [],
    {},
    [[]],
    true,
  ),
);
/** A likely value, now and then anything. */
const mostly = <T>(likely: fc.Arbitrary<T>): fc.Arbitrary<unknown> =>
  fc.oneof(
    { arbitrary: likely as fc.Arbitrary<unknown>, weight: 40 },
    { arbitrary: junk, weight: 1 },
  );
const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.constantFrom('Once upon a time', 'The dog </s>'),
);
const ids = fc.array(fc.integer({ min: 0, max: 511 }), { maxLength: 12 });

const retrieval = {
  k: mostly(fc.integer({ min: 1, max: 40 })),
  lambda: mostly(fc.constantFrom(0, 0.3, 1)),
  temperature: mostly(fc.constantFrom(0.1, 5, 1e6)),
  gate: mostly(fc.constant(false)),
  stores: mostly(fc.constant(['small.knn'])),
  exclude_documents: mostly(fc.constantFrom([], [stories('train')[0]!.id])),
};
const some = (fields: Record<string, fc.Arbitrary<unknown>>, required: string[] = []) =>
  fc.record(fields, { requiredKeys: required as never[] });

/** With one of the two ways to give a context. */
const withContext = (fields: Record<string, fc.Arbitrary<unknown>>) =>
  fc.oneof(
    some({ ...fields, context: mostly(text) }, ['context']),
    some({ ...fields, token_ids: mostly(ids) }, ['token_ids']),
  );

const sampling = {
  max_tokens: mostly(fc.integer({ min: 0, max: 3 })),
  temperature: mostly(fc.constantFrom(0, 0.7, 3)),
  top_p: mostly(fc.constantFrom(0, 0.5, 1)),
  n: mostly(fc.integer({ min: 1, max: 3 })),
  stop: mostly(fc.oneof(text, fc.array(text, { maxLength: 3 }))),
  seed: mostly(fc.maxSafeInteger()),
  logit_bias: mostly(
    fc.dictionary(fc.integer({ min: 0, max: 600 }).map(String), fc.constantFrom(-100, 5, 100)),
  ),
  presence_penalty: mostly(fc.constantFrom(-2, 0, 2)),
  frequency_penalty: mostly(fc.constantFrom(-2, 0, 2)),
  repetition_penalty: mostly(fc.constantFrom(0.5, 1, 2)),
  top_k: mostly(fc.integer({ min: 0, max: 5 })),
  min_p: mostly(fc.constantFrom(0, 0.5, 1)),
  stream: mostly(fc.boolean()),
  stream_options: mostly(fc.constantFrom({ include_usage: true }, {})),
  knn: mostly(
    some({
      ...retrieval,
      include_neighbors: mostly(fc.integer({ min: 0, max: 4 })),
      around: mostly(fc.integer({ min: 0, max: 5 })),
      on_index_failure: mostly(fc.constantFrom('error', 'lm')),
    }),
  ),
};

const bodies: Record<string, fc.Arbitrary<unknown>> = {
  '/v1/completions': some(
    {
      ...sampling,
      prompt: mostly(
        fc.oneof(text, fc.array(text, { maxLength: 3 }), ids, fc.array(ids, { maxLength: 3 })),
      ),
      logprobs: mostly(fc.integer({ min: 0, max: 4 })),
      echo: mostly(fc.boolean()),
      best_of: mostly(fc.integer({ min: 1, max: 4 })),
      suffix: mostly(fc.constantFrom('', null)),
    },
    ['prompt', 'max_tokens'],
  ),
  '/v1/chat/completions': some({
    ...sampling,
    messages: mostly(fc.constant([{ role: 'user', content: 'a' }])),
  }),
  '/v1/knn/search': withContext({
    ...retrieval,
    show: mostly(fc.integer({ min: 0, max: 5 })),
    raw: mostly(fc.boolean()),
  }),
  '/v1/knn/score': some(
    {
      ...retrieval,
      text: mostly(text),
      neighbors: mostly(fc.integer({ min: 0, max: 3 })),
      stream: mostly(fc.boolean()),
    },
    ['text'],
  ),
  '/v1/knn/documents': some({
    id: mostly(text),
    text: mostly(text),
    metadata: junk,
    replace: mostly(fc.boolean()),
  }),
  '/v1/knn/map/project': withContext({ sample: mostly(fc.integer({ min: 1, max: 30 })) }),
  '/tokenize': some({ prompt: mostly(text), add_special_tokens: mostly(fc.boolean()) }),
  '/detokenize': some({ tokens: mostly(ids) }),
};

/** Any status but those of faults; 503 would be a request that takes too long. */
async function answered(path: string, body: unknown): Promise<number> {
  const response = await server.fetch(path, body);
  if (response.headers.get('content-type')?.startsWith('text/event-stream')) {
    const events = eventsOf(await response.text());
    const last = events.at(-1)!;
    if (last !== '[DONE]') expect(JSON.parse(last).error.type).toBe('invalid_request_error');
    return response.status;
  }
  return (await server.read(response, path, body)).status;
}

const isFault = (status: number): boolean => status >= 500 || status < 200;

describe('fuzzed requests', () => {
  it.each(Object.entries(bodies))('to %s are answered or refused', async (path, body) => {
    const accepted: number[] = [];
    await fc.assert(
      fc.asyncProperty(
        fc.oneof({ arbitrary: body, weight: 15 }, { arbitrary: junk, weight: 1 }),
        async (value) => {
          const status = await answered(path, value);
          if (status === 200) accepted.push(status);
          expect(isFault(status), `${status}`).toBe(false);
        },
      ),
      { numRuns: 60 },
    );
    // Else nothing was tested but refusals.
    if (path !== '/v1/chat/completions' && path !== '/v1/knn/documents')
      expect(accepted.length).toBeGreaterThan(5);
    expect(server.errors).toEqual([]);
  });

  it('with any bytes as a body, any path and any query are answered or refused', async () => {
    const path = fc.oneof(
      fc.constantFrom(...ROUTES.map((route) => route.path)),
      fc.webPath(),
      fc.string().map((name) => `/v1/knn/documents/${encodeURIComponent(name)}`),
    );
    await fc.assert(
      fc.asyncProperty(
        path,
        fc.webQueryParameters(),
        fc.option(fc.string()),
        fc.constantFrom('GET', 'POST', 'DELETE', 'PUT'),
        async (at, query, body, method) => {
          const sent = method === 'GET' ? undefined : (body ?? '');
          const response = await server.fetch(`${at}?${query}`, sent, { method });
          await response.text();
          expect(isFault(response.status), `${response.status} ${at}`).toBe(false);
        },
      ),
      { numRuns: 150 },
    );
    expect(server.errors).toEqual([]);
  });
});

describe('requests at the same time', () => {
  it('are answered as if each were alone', async () => {
    const prompts = stories('valid').map(({ text: story }) => story.slice(0, 60));
    const requests = prompts.flatMap((prompt, i) => [
      { prompt, max_tokens: 8, temperature: 0, logprobs: 2 },
      {
        prompt,
        max_tokens: 8,
        temperature: 1.2,
        seed: i,
        logit_bias: { [260 + i]: 5 },
        presence_penalty: 1,
      },
      {
        prompt,
        max_tokens: 2,
        temperature: 0,
        echo: true,
        logprobs: 1,
        knn: { lambda: i / 8, k: 4 + i },
      },
    ]);
    const ask = async (body: object) => {
      const { body: reply } = await server.ask('/v1/completions', body);
      return reply.choices;
    };
    const alone: unknown[] = [];
    for (const request of requests) alone.push(await ask(request));
    const together = await Promise.all(requests.map(ask));
    expect(together).toEqual(roughly(alone));
  });

  it('leave nothing behind: no slot, no place in the queue', async () => {
    const { body } = await server.ask('/v1/knn/statistics');
    expect(body.requests).toMatchObject({ active: 0, waiting: 0, failed: 0 });
  });
});
