/** A server over a small real store, asked as Request → Response; every reply is held against its schema. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect } from 'vitest';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { buildDatastore, type OpenOptions, openKnnLM } from '../../dist/open.js';
import { createServer, type KnnServer } from '../../dist/server/create-server.js';
import type { ServerOptions } from '../../dist/server/options.js';
import { ROUTES } from '../../dist/server/routes/index.js';
import { errorReply } from '../../dist/server/schemas/common.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
export const MODEL = `${fixtures}models/stories260K`;
export const TRAIN = `${fixtures}golden/tinystories.train.jsonl`;
export const SETTINGS = { k: 16, lambda: 0.4, temperature: 5 };
export const ORIGIN = 'http://localhost';

/** The stored stories, and others. */
export const stories = (part: 'train' | 'valid'): { id: string; text: string }[] =>
  readFileSync(`${fixtures}golden/tinystories.${part}.jsonl`, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

/** What equals a value up to the rounding of its numbers: texts read beside others are products of other shapes. */
export function roughly(value: unknown): unknown {
  if (typeof value === 'number') return expect.closeTo(value, 3);
  if (Array.isArray(value)) return value.map(roughly);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, roughly(part)]));
}

/** `small.knn` in a folder of its own, built once per file. What is opened is closed at the end. */
export class TestStore {
  readonly folder = mkdtempSync(join(tmpdir(), 'knnlm-server-'));
  readonly path = join(this.folder, 'small.knn');
  readonly #opened: KnnLM[] = [];

  constructor() {
    beforeAll(() =>
      buildDatastore([TRAIN], {
        out: this.path,
        model: MODEL,
        window: 128,
        stride: 64,
        settings: SETTINGS,
      }),
    );
    afterAll(async () => {
      await Promise.all(this.#opened.map((knnlm) => knnlm.close()));
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  async open(paths: string | string[] = this.path, options: OpenOptions = {}): Promise<KnnLM> {
    const knnlm = await openKnnLM(paths, options);
    this.#opened.push(knnlm);
    return knnlm;
  }
}

export interface AskOptions {
  method?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
  address?: string;
}

export interface Asked {
  status: number;
  headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it at will; its shape was checked
  body: any;
}

export class TestServer {
  readonly server: KnnServer;
  readonly errors: unknown[] = [];

  constructor(knnlm: KnnLM, options: ServerOptions = {}) {
    this.server = createServer(knnlm, { ...options, onError: (error) => this.errors.push(error) });
  }

  fetch(path: string, body?: unknown, options: AskOptions = {}): Promise<Response> {
    const { method = body === undefined ? 'GET' : 'POST', headers, signal, address } = options;
    const init: RequestInit = {
      method,
      headers: { ...(body !== undefined && { 'content-type': 'application/json' }), ...headers },
      ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      ...(signal && { signal }),
    };
    return this.server.fetch(new Request(`${ORIGIN}${path}`, init), { address });
  }

  /** The reply, which is what its schema says and nothing more. */
  async ask(path: string, body?: unknown, options: AskOptions = {}): Promise<Asked> {
    return await this.read(await this.fetch(path, body, options), path, body, options);
  }

  /** The same of a reply that is there. */
  async read(
    response: Response,
    path: string,
    body?: unknown,
    { method }: AskOptions = {},
  ): Promise<Asked> {
    const reply = await response.json();
    expectSchema(response.ok ? routeOf(method, path, body)?.reply : errorReply, reply);
    return { status: response.status, headers: response.headers, body: reply };
  }

  /** Every event of a stream that ends well. */
  async events(path: string, body: object, options: AskOptions = {}): Promise<Asked['body'][]> {
    const response = await this.fetch(path, { ...body, stream: true }, options);
    expect(response.status).toBe(200);
    const events = eventsOf(await response.text());
    expect(events.pop()).toBe('[DONE]');
    const parsed = events.map((event) => JSON.parse(event));
    const route = routeOf(options.method, path, body);
    for (const event of parsed) expectSchema(route?.event, event);
    return parsed;
  }
}

export const eventsOf = (text: string): string[] =>
  text
    .split('\n\n')
    .filter((line) => line.startsWith('data: '))
    .map((line) => line.slice('data: '.length));

function routeOf(method: string | undefined, path: string, body: unknown) {
  const wanted = (method ?? (body === undefined ? 'GET' : 'POST')).toLowerCase();
  const { pathname } = new URL(path, ORIGIN);
  return ROUTES.find(
    (route) =>
      route.method === wanted &&
      new RegExp(`^${route.path.replace(/\{\w+\}/g, '[^/]+')}$`).test(pathname),
  );
}

/** Objects in schemas drop what they do not know, so what comes out must be what went in. */
function expectSchema(schema: { parse: (value: unknown) => unknown } | undefined, value: unknown) {
  if (schema) expect(schema.parse(value)).toEqual(value);
}
