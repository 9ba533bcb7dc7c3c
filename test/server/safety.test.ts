/** Who may ask, what may be sent, and what is never told. */
import { beforeAll, describe, expect, it } from 'vitest';
import { KnnLMError } from '../../dist/errors.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { createServer } from '../../dist/server/create-server.js';
import { refusalOf } from '../../dist/server/refusal.js';
import { TestServer, TestStore } from './support.ts';

const store = new TestStore();
let knnlm: KnnLM;
let server: TestServer;
const JSON_BODY = { 'content-type': 'application/json' };

beforeAll(async () => {
  knnlm = await store.open();
  server = new TestServer(knnlm);
});

const under = (url: string, options: Parameters<typeof createServer>[1] = {}, init?: RequestInit) =>
  createServer(knnlm, options).fetch(new Request(url, init));

describe('the name a server is called by', () => {
  it.each(['http://localhost:9000', 'http://127.0.0.1', 'http://[::1]:80'])(
    '%s is its own',
    async (url) => {
      expect((await under(`${url}/health`)).status).toBe(200);
    },
  );

  it.each([
    'http://evil.example',
    'http://localhost.evil.example',
    'http://127.0.0.1.nip.io',
    'http://10.0.0.7',
  ])('%s is not: a page elsewhere may have bound it to this machine', async (url) => {
    for (const path of ['/health', '/', '/v1/models']) {
      expect((await under(url + path)).status).toBe(403);
    }
  });

  it('may be another when it was told so', async () => {
    const url = 'https://memory.example/v1/models';
    expect((await under(url, { hosts: ['memory.example'] })).status).toBe(200);
    expect((await under(url, { hosts: 'any' })).status).toBe(200);
  });
});

describe('pages of other origins', () => {
  const headers = { origin: 'https://app.example' };

  it('are refused, in whatever way they ask', async () => {
    const post = await server.fetch('/v1/completions', { prompt: 'a' }, { headers });
    expect(post.status).toBe(403);
    const preflight = await server.fetch('/v1/completions', undefined, {
      method: 'OPTIONS',
      headers: { ...headers, 'access-control-request-method': 'POST' },
    });
    expect(preflight.status).toBe(403);
    expect(preflight.headers.get('access-control-allow-origin')).toBeNull();
    const image = await server.fetch('/v1/knn/documents', undefined, {
      headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' },
    });
    expect(image.status).toBe(403);
    const sandboxed = await server.fetch('/v1/models', undefined, { headers: { origin: 'null' } });
    expect(sandboxed.status).toBe(403);
  });

  it('may ask when the server was told so, and only they', async () => {
    const open = new TestServer(knnlm, { cors: ['https://app.example'] });
    const reply = await open.fetch('/v1/models', undefined, { headers });
    expect(reply.status).toBe(200);
    expect(reply.headers.get('access-control-allow-origin')).toBe('https://app.example');
    expect(reply.headers.get('vary')).toContain('origin');
    const preflight = await open.fetch('/v1/completions', undefined, {
      method: 'OPTIONS',
      headers: { ...headers, 'access-control-request-headers': 'authorization, x-stainless-os' },
    });
    expect(preflight.status).toBe(204);
    expect(preflight.headers.get('access-control-allow-headers')).toBe(
      'authorization, x-stainless-os',
    );
    const wrong = await open.fetch('/v1/completions', 'no JSON', { headers });
    expect([wrong.status, wrong.headers.get('access-control-allow-origin')]).toEqual([
      400,
      'https://app.example',
    ]);
    const other = { headers: { origin: 'https://app.example.evil.example' } };
    expect((await open.fetch('/v1/models', undefined, other)).status).toBe(403);
  });

  it('are not the server’s own page, nor a link to it', async () => {
    const own = { headers: { origin: 'http://localhost', 'sec-fetch-site': 'same-origin' } };
    expect((await server.fetch('/v1/models', undefined, own)).status).toBe(200);
    const link = { headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' } };
    expect((await server.fetch('/', undefined, link)).status).not.toBe(403);
  });

  it('are named as browsers name them', () => {
    expect(() => createServer(knnlm, { cors: ['app.example'] })).toThrow(/An origin is a scheme/);
    expect(() => createServer(knnlm, { cors: ['*'] })).toThrow(/not "\*"/);
  });
});

describe('a key', () => {
  const apiKey = 'sesame';
  const ask = (path: string, authorization?: string) =>
    new TestServer(knnlm, { apiKey }).fetch(path, undefined, {
      ...(authorization !== undefined && { headers: { authorization } }),
    });

  it('is asked for by everything that tells of model, stores or use', async () => {
    for (const path of ['/v1/models', '/v1/knn/info', '/v1/knn/documents', '/metrics']) {
      for (const given of [
        undefined,
        'sesame',
        'Basic sesame',
        'Bearer',
        'Bearer other',
        'Bearer sesame2',
      ]) {
        const { status } = await ask(path, given);
        expect([path, given, status]).toEqual([path, given, 401]);
      }
      expect((await ask(path, 'Bearer sesame')).status).toBe(200);
    }
  });

  it('is not asked for by the page, which asks for it itself, nor by whoever watches over the process', async () => {
    for (const path of ['/health', '/openapi.json', '/'])
      expect((await ask(path)).status).toBe(200);
  });
});

describe('a body', () => {
  it.each([
    ['text/plain', '{"prompt":"a"}', 415],
    ['application/x-www-form-urlencoded', 'prompt=a', 415],
    ['application/json', '{"prompt":', 400],
    ['application/json', '', 400],
    ['application/json', 'null', 400],
    ['application/json', '[]', 400],
    ['application/json; charset=utf-8', '{"prompt":"a","max_tokens":1}', 200],
  ])('of type %s that is %j gives %d', async (type, body, status) => {
    const { headers } = { headers: { 'content-type': type } };
    expect((await server.fetch('/v1/completions', body, { headers })).status).toBe(status);
  });

  it('that is not UTF-8 or is larger than allowed is refused, announced or not', async () => {
    const small = createServer(knnlm, { bodyBytes: 4000 });
    const send = (body: RequestInit['body'], path = '/v1/completions') =>
      small.fetch(
        new Request(`http://localhost${path}`, {
          method: 'POST',
          headers: JSON_BODY,
          body,
          duplex: 'half',
        } as RequestInit),
      );
    expect((await send(Buffer.from([0x22, 0xff, 0xfe, 0x22]))).status).toBe(400);
    const large = JSON.stringify({ prompt: 'a'.repeat(2000) });
    expect((await send(large)).status).toBe(413);
    const pieces = new ReadableStream({
      pull: (controller) =>
        controller.enqueue(Buffer.from('{"prompt": "aaaaaaaaaaaaaaaaaaaaaaaaaaaa')),
    });
    expect((await send(pieces)).status).toBe(413);
    // A document may have four times as much.
    const document = JSON.stringify({ id: 'a', text: 'a'.repeat(2000), store: 'other' });
    expect((await send(document, '/v1/knn/documents')).status).toBe(404);
  });
});

describe('a reply', () => {
  it('is no page, is kept by nobody, and has a number by which the log knows it', async () => {
    for (const path of ['/v1/models', '/nothing', '/v1/completions']) {
      const { headers } = await server.fetch(path);
      expect(headers.get('content-type')).toMatch(/^application\/json/);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
      expect(headers.get('content-security-policy')).toContain("default-src 'none'");
      expect(headers.get('x-request-id')).toMatch(/^req-[0-9a-f]{24}$/);
    }
  });

  it('says which methods there are', async () => {
    const { status, headers } = await server.fetch('/v1/knn/documents', undefined, {
      method: 'PATCH',
    });
    expect([status, headers.get('allow')]).toEqual([405, 'GET, POST']);
  });

  it('tells neither stacks nor folders', () => {
    const folders = ['/srv/stores/notes.knn', '/srv/models/small'];
    const secret = refusalOf(new TypeError('x is undefined at /srv/app.js:3'), folders);
    expect([secret.status, secret.message]).toEqual([
      500,
      'This is a fault of the server. Its log says more.',
    ]);
    const known = refusalOf(
      new KnnLMError('STORE_CORRUPT', '/srv/stores/notes.knn/segments/0/keys.bin is damaged.'),
      folders,
    );
    expect([known.status, known.message]).toEqual([
      500,
      'notes.knn/segments/0/keys.bin is damaged.',
    ]);
    const locked = refusalOf(new KnnLMError('STORE_LOCKED', 'busy'), folders);
    expect([locked.status, locked.details.retryAfter]).toEqual([409, 2]);
  });
});

describe('the page', () => {
  it('comes with a policy under which nothing from elsewhere runs or is framed', async () => {
    const page = await server.fetch('/');
    const policy = page.headers.get('content-security-policy')!;
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    for (const rule of [
      "default-src 'none'",
      "script-src 'self'",
      "frame-ancestors 'none'",
      "base-uri 'none'",
    ])
      expect(policy).toContain(rule);
    expect(policy).not.toContain('unsafe');
    const html = await page.text();
    // Nothing in it needs more than that.
    expect(html).not.toMatch(/<script(?![^>]* src=)/);
    expect(html).not.toMatch(/ on\w+=|style=/);
    const script = /src="(\/assets\/[^"]+\.js)"/.exec(html)![1]!;
    const file = await server.fetch(script);
    expect(file.headers.get('content-type')).toBe('text/javascript; charset=utf-8');
    expect(file.headers.get('cache-control')).toContain('immutable');
    const again = await server.fetch(script, undefined, {
      headers: { 'if-none-match': file.headers.get('etag')! },
    });
    expect(again.status).toBe(304);
  });

  it.each([
    '/../package.json',
    '/..%2fpackage.json',
    '/assets/..%2f..%2fcli%2fmain.js',
    '/assets',
    '/index.html%00',
    '/%2e%2e/server/index.js',
    '//etc/passwd',
  ])('is found by exact names alone: %s is nothing', async (path) => {
    expect((await server.fetch(path)).status).toBe(404);
  });

  it('may be left out', async () => {
    expect((await new TestServer(knnlm, { page: false }).fetch('/')).status).toBe(404);
  });
});

describe('options', () => {
  it.each([
    [{ concurrency: 0 }, /concurrency must be a whole number of at least 1, not 0/],
    [{ timeoutMs: Number.NaN }, /timeoutMs must be/],
    [{ apiKey: '' }, /The API key is empty/],
  ])('%j cannot be', (options, message) => {
    expect(() => createServer(knnlm, options)).toThrow(message);
  });
});
