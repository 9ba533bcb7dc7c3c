/** Clients that leave, wait too long or take nothing, and the end of the server: slots come back, what was started is finished. */
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { type Listening, serve } from '../../dist/server/listen.js';
import type { ServerOptions } from '../../dist/server/options.js';
import type { StatisticsReply } from '../../dist/server/wire.js';
import { eventsOf, TestServer, TestStore } from './support.ts';

const store = new TestStore();
let knnlm: KnnLM;

beforeAll(async () => {
  knnlm = await store.open();
});

/** The end of a story, which would end the text before its time. */
const EOS = 2;
const LONG = {
  prompt: 'Once upon a time',
  max_tokens: 10_000,
  temperature: 1,
  logit_bias: { [EOS]: -100 },
};
const SHORT = { prompt: 'Once', max_tokens: 2, temperature: 0 };

async function requestsOf(server: TestServer): Promise<{ active: number; waiting: number }> {
  return (await server.ask('/v1/knn/statistics')).body.requests;
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await new Promise((resolve) => setTimeout(resolve, 5));
}

const idle = (server: TestServer) =>
  until(async () => {
    const { active, waiting } = await requestsOf(server);
    return active === 0 && waiting === 0;
  });

describe('a client that goes', () => {
  it('frees its slot, whether its reply was to come at once or in parts', async () => {
    const server = new TestServer(knnlm, { concurrency: 1 });
    for (const stream of [true, false]) {
      const abort = new AbortController();
      const asking = server.fetch('/v1/completions', { ...LONG, stream }, { signal: abort.signal });
      await until(async () => (await requestsOf(server)).active === 1);
      const next = server.ask('/v1/completions', SHORT);
      if (stream) await (await asking).body!.cancel();
      else abort.abort();
      expect((await next).status).toBe(200);
      if (!stream) expect((await asking).status).toBe(499);
      await idle(server);
    }
  });

  it('leaves the queue', async () => {
    const server = new TestServer(knnlm, { concurrency: 1 });
    const first = await server.fetch('/v1/completions', { ...LONG, stream: true });
    const abort = new AbortController();
    const waiting = server.fetch('/v1/completions', SHORT, { signal: abort.signal });
    await until(async () => (await requestsOf(server)).waiting === 1);
    abort.abort();
    expect((await waiting).status).toBe(499);
    expect((await requestsOf(server)).waiting).toBe(0);
    await first.body!.cancel();
    await idle(server);
  });

  it('stops the scoring of its text and the adding of its document', async () => {
    const server = new TestServer(knnlm, { concurrency: 1 });
    const text = 'Once upon a time there was a cat. '.repeat(1000);
    const reply = await server.fetch('/v1/knn/score', { text, stream: true });
    await reply.body!.cancel();
    await idle(server);
    expect((await server.ask('/v1/knn/statistics')).body.tokens.scored).toBeLessThan(5_000);
    const adding = await server.fetch('/v1/knn/documents', { id: 'cats', text, stream: true });
    await adding.body!.cancel();
    await until(async () => {
      const { status } = await server.ask('/v1/knn/documents', { id: 'cat', text: 'A cat.' });
      return status === 200;
    });
  });

  it('that takes nothing for too long is let go of', async () => {
    const server = new TestServer(knnlm, { concurrency: 1, stallMs: 50 });
    const knn = { include_neighbors: 16 };
    const reply = await server.fetch('/v1/completions', { ...LONG, stream: true, knn });
    await idle(server);
    await expect(reply.text()).rejects.toThrow(/took nothing/);
  });
});

describe('a busy server', () => {
  it('works off what waits, and refuses what is too much with the time to come back', async () => {
    const server = new TestServer(knnlm, { concurrency: 1, queue: 2 });
    const long = await server.fetch('/v1/completions', { ...LONG, stream: true });
    const ask = (address: string) => server.ask('/v1/completions', SHORT, { address });
    const first = ask('a');
    await until(async () => (await requestsOf(server)).waiting === 1);
    const again = await ask('a');
    expect([again.status, again.body.error.type]).toEqual([429, 'rate_limit_error']);
    const second = ask('b');
    await until(async () => (await requestsOf(server)).waiting === 2);
    const third = await ask('c');
    expect([third.status, third.body.error.type]).toEqual([503, 'overloaded_error']);
    expect(Number(third.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    await long.body!.cancel();
    expect((await first).status).toBe(200);
    expect((await second).status).toBe(200);
    await idle(server);
    expect(await requestsOf(server)).toMatchObject({ rejected: 2, failed: 0 });
  });

  it('ends what takes longer than allowed, with a status or within the stream', async () => {
    const server = new TestServer(knnlm, { timeoutMs: 300 });
    const whole = await server.ask('/v1/completions', LONG);
    expect([whole.status, whole.body.error.code]).toEqual([503, 'timeout']);
    const stream = await server.fetch('/v1/completions', { ...LONG, stream: true });
    const events = eventsOf(await stream.text());
    expect(JSON.parse(events.at(-1)!).error.code).toBe('timeout');
    await idle(server);
  });
});

describe('the end of a server', () => {
  it('waits for what was started and takes nothing more', async () => {
    const server = new TestServer(knnlm);
    const body = { ...LONG, max_tokens: 60, stream: true };
    const reply = await server.fetch('/v1/completions', body);
    let hasClosed = false;
    const closing = server.server.close().then(() => {
      hasClosed = true;
    });
    expect((await server.ask('/health')).body).toEqual({ status: 'stopping' });
    const late = await server.ask('/v1/completions', SHORT);
    expect([late.status, late.body.error.code]).toEqual([503, 'stopping']);
    expect(hasClosed).toBe(false);
    const events = eventsOf(await reply.text());
    expect(events.at(-1)).toBe('[DONE]');
    await closing;
  });

  it('ends after its grace what has not finished', async () => {
    const server = new TestServer(knnlm);
    const reply = await server.fetch('/v1/completions', { ...LONG, stream: true });
    const text = reply.text();
    await server.server.close({ graceMs: 50 });
    expect(JSON.parse(eventsOf(await text).at(-1)!).error.code).toBe('stopping');
  });
});

describe('through a socket', () => {
  const started = async (options: ServerOptions = {}): Promise<Listening> => {
    const listening = await serve(knnlm, { port: 0, ...options });
    onTestFinished(() => listening.close({ graceMs: 0 }));
    return listening;
  };
  const statistics = async ({ url }: Listening) => {
    const reply = (await (await fetch(`${url}/v1/knn/statistics`)).json()) as StatisticsReply;
    return reply.requests;
  };
  const post = { method: 'POST', headers: { 'content-type': 'application/json' } };

  it('clients that are killed free their slots', async () => {
    const listening = await started({ concurrency: 2 });
    const { url, port } = listening;
    for (const stream of [true, false]) {
      const body = JSON.stringify({ ...LONG, stream });
      const sockets = Array.from({ length: 4 }, () => {
        const socket = connect(port, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.write(
          `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
        );
        return socket;
      });
      await until(async () => (await statistics(listening)).waiting === 2);
      for (const socket of sockets) socket.destroy();
      await until(async () => {
        const { active, waiting } = await statistics(listening);
        return active + waiting === 0;
      });
    }
    const reply = await fetch(`${url}/v1/completions`, { ...post, body: JSON.stringify(SHORT) });
    expect(reply.status).toBe(200);
  });

  it('a body that breaks off and a request that is none leave the server as it was', async () => {
    const listening = await started();
    const half = httpRequest(`${listening.url}/v1/completions`, {
      ...post,
      headers: { ...post.headers, 'content-length': 1000 },
    });
    half.on('error', () => undefined);
    half.write('{"prompt": "a');
    await new Promise((resolve) => setTimeout(resolve, 30));
    half.destroy();
    const noise = connect(listening.port, '127.0.0.1');
    const answer = new Promise<string>((resolve) =>
      noise.on('data', (data) => resolve(String(data))),
    );
    noise.write('GARBAGE\r\n\r\n');
    expect(await answer).toMatch(/^HTTP\/1\.1 400/);
    await until(async () => (await statistics(listening)).active === 0);
    expect((await fetch(`${listening.url}/health`)).status).toBe(200);
  });

  it('closing finishes what was started and then lets no one in', async () => {
    const listening = await serve(knnlm, { port: 0 });
    const body = JSON.stringify({ ...LONG, max_tokens: 60, stream: true });
    const reply = await fetch(`${listening.url}/v1/completions`, { ...post, body });
    const text = reply.text();
    await listening.close();
    expect(eventsOf(await text).at(-1)).toBe('[DONE]');
    await expect(fetch(`${listening.url}/health`)).rejects.toThrow();
  });

  it('a port that is taken, a host that is not here and a server for all without a key are refused', async () => {
    const { port } = await started();
    await expect(serve(knnlm, { port })).rejects.toThrow(`Port ${port} of 127.0.0.1 is taken`);
    await expect(serve(knnlm, { host: '203.0.113.5', apiKey: 'a' })).rejects.toThrow(
      /not an address of this machine/,
    );
    await expect(serve(knnlm, { host: '0.0.0.0' })).rejects.toThrow(/needs a key: --api-key/);
  });
});
