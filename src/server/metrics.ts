/** What the server has done, counted once: for Prometheus on /metrics and for /v1/knn/statistics. The one file that knows prom-client. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Scheduler } from './scheduler.ts';

/** Upper bounds in seconds. */
const REQUEST_SECONDS = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];
const TOKEN_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5];

export type TokenKind = 'prompt' | 'generated' | 'scored';

export interface StoreSize {
  name: string;
  documents: number;
  entries: number;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #started = performance.now();
  readonly requests = { total: 0, rejected: 0, failed: 0 };
  readonly tokens: Record<TokenKind, number> = { prompt: 0, generated: 0, scored: 0 };
  readonly #served: Counter<'route' | 'status'>;
  readonly #seconds: Histogram<'route'>;
  readonly #tokenCounter: Counter<'kind'>;
  readonly #firstToken: Histogram;
  readonly #gap: Histogram;

  constructor(parts: { scheduler: Scheduler; stores: () => StoreSize[]; searchMs: () => number }) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    this.#served = new Counter({
      name: 'knnlm_requests_total',
      help: 'Requests answered.',
      labelNames: ['route', 'status'],
      registers,
    });
    this.#seconds = new Histogram({
      name: 'knnlm_request_seconds',
      help: 'From the first byte of a request to the last of its reply.',
      labelNames: ['route'],
      buckets: REQUEST_SECONDS,
      registers,
    });
    this.#tokenCounter = new Counter({
      name: 'knnlm_tokens_total',
      help: 'Tokens: of prompts, generated, and scored.',
      labelNames: ['kind'],
      registers,
    });
    this.#firstToken = new Histogram({
      name: 'knnlm_first_token_seconds',
      help: 'From a slot to the first generated token.',
      buckets: TOKEN_SECONDS,
      registers,
    });
    this.#gap = new Histogram({
      name: 'knnlm_token_gap_seconds',
      help: 'Between the generated tokens of one text.',
      buckets: TOKEN_SECONDS,
      registers,
    });
    const { scheduler, stores, searchMs } = parts;
    this.#gauge('knnlm_requests_active', 'Requests that are worked on.', () => scheduler.active);
    this.#gauge('knnlm_requests_waiting', 'Requests that wait.', () => scheduler.waiting);
    this.#gauge('knnlm_search_seconds', 'Spent in searches so far.', () => searchMs() / 1000);
    for (const part of ['documents', 'entries'] as const) {
      new Gauge({
        name: `knnlm_store_${part}`,
        help: `Of each store, the ${part} that can be retrieved.`,
        labelNames: ['store'],
        registers,
        collect() {
          this.reset();
          for (const store of stores()) this.set({ store: store.name }, store[part]);
        },
      });
    }
  }

  #gauge(name: string, help: string, value: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.#registry],
      collect() {
        this.set(value());
      },
    });
  }

  get uptimeSeconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  /** @param route as the OpenAPI document names it, never a path that was asked for */
  answered(route: string, status: number, seconds: number): void {
    this.requests.total++;
    if (status === 429 || status === 503) this.requests.rejected++;
    else if (status >= 500) this.requests.failed++;
    this.#served.inc({ route, status: String(status) });
    this.#seconds.observe({ route }, seconds);
  }

  count(kind: TokenKind, tokens: number): void {
    this.tokens[kind] += tokens;
    this.#tokenCounter.inc({ kind }, tokens);
  }

  /** Times of one text's generated tokens. @returns what is called at each */
  tokenTimer(): () => void {
    let last = performance.now();
    let isFirst = true;
    return () => {
      const now = performance.now();
      (isFirst ? this.#firstToken : this.#gap).observe((now - last) / 1000);
      last = now;
      isFirst = false;
    };
  }

  async page(): Promise<Response> {
    const text = await this.#registry.metrics();
    return new Response(text, { headers: { 'content-type': this.#registry.contentType } });
  }

  close(): void {
    this.#registry.clear();
  }
}
