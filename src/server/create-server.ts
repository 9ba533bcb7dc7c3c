/**
 * The server as a function from Request to Response. It knows no port and no socket: `listen.ts` does, and whoever embeds
 * it in a framework of his own calls `fetch`.
 */
import { Hono } from 'hono';
import { z } from 'zod';
import type { KnnLM } from '../knnlm/knnlm.ts';
import { turns } from '../math/turns.ts';
import { Call } from './call.ts';
import { Events, eventStream } from './event-stream.ts';
import {
  checkHost,
  checkKey,
  corsHeaders,
  foreignOrigin,
  preflight,
  SECURITY_HEADERS,
} from './guard.ts';
import { openApiDocument } from './openapi.ts';
import { resolveOptions, type ServerOptions } from './options.ts';
import { pageResponse, readPage } from './page.ts';
import { checked, readJson, readQuery } from './read-request.ts';
import { Refusal } from './refusal.ts';
import type { Route } from './route.ts';
import { ROUTES } from './routes/index.ts';
import { Service } from './service.ts';

export interface Peer {
  /** Of the client: those of one address wait behind one another. */
  address?: string;
}

export interface KnnServer {
  fetch(request: Request, peer?: Peer): Promise<Response>;
  /**
   * Takes no more requests and waits for those under way. The `KnnLM` stays open: it is its opener's.
   * @param graceMs after which what has not finished is ended. Default: it is waited for.
   */
  close(options?: { graceMs?: number }): Promise<void>;
}

/** What a route takes that takes no query; names it does not know are passed over. */
const NO_QUERY = z.object({});

/** Share of `bodyBytes` that a body may have which is no document. */
const OTHER_BODIES = 1 / 4;

type App = Hono<{ Bindings: { call: Call } }>;

/** Errors: `INVALID_ARGUMENT` for options that cannot be. */
export function createServer(knnlm: KnnLM, options: ServerOptions = {}): KnnServer {
  const service = new Service(knnlm, resolveOptions(options));
  const app = createApp(service);
  const calls = new Set<Call>();
  return {
    async fetch(request, { address = '' } = {}) {
      await turns.take();
      const call = new Call(service, request, address);
      calls.add(call);
      void call.ended.then(() => calls.delete(call));
      return await app.fetch(request, { call });
    },
    async close({ graceMs } = {}) {
      service.isStopping = true;
      const stop = (): void => {
        for (const call of calls) call.abort(stopping());
      };
      const timer = graceMs === undefined ? undefined : setTimeout(stop, graceMs);
      while (calls.size > 0) await Promise.all([...calls].map(({ ended }) => ended));
      clearTimeout(timer);
      service.metrics.close();
    },
  };
}

const stopping = (): Refusal =>
  new Refusal(503, 'The server is being stopped.', { code: 'stopping', retryAfter: 5 });

function createApp(service: Service): App {
  const app: App = new Hono();
  const { options } = service;
  app.use('*', async (context, next) => {
    const { call } = context.env;
    checkHost(call.url, options.hosts);
    const origin = foreignOrigin(call.request, call.url, options.cors);
    const isPreflight = call.request.method === 'OPTIONS' && origin !== undefined;
    if (isPreflight) context.res = ended(preflight(call.request, origin), call);
    else await next();
    addHeaders(context.res.headers, call, origin);
  });
  for (const route of ROUTES) {
    app.on(route.method.toUpperCase(), honoPath(route.path), async (context) => {
      const { call } = context.env;
      call.route = route.path;
      return await answer(route, call, context.req.param() as Record<string, string>);
    });
  }
  const document = openApiDocument(ROUTES);
  app.get('/openapi.json', ({ env: { call } }) => ended(Response.json(document), call));
  const page = options.page ? readPage() : new Map();
  for (const [path, file] of page) {
    app.get(path, ({ env: { call } }) => ended(pageResponse(file, call.request), call));
  }
  const methods = new Map<string, string[]>();
  for (const { method, path } of ROUTES) {
    methods.set(path, [...(methods.get(path) ?? []), method.toUpperCase()]);
  }
  for (const [path, allowed] of methods) {
    app.all(honoPath(path), ({ env: { call } }) => refuse(wrongMethod(call, allowed), call));
  }
  app.notFound(({ env: { call } }) => refuse(notFound(call), call));
  app.onError((error, { env: { call } }) => {
    const response = refuse(error, call);
    addHeaders(response.headers, call, undefined);
    return response;
  });
  return app;
}

const honoPath = (path: string): string => path.replace(/\{(\w+)\}/g, ':$1');

async function answer(route: Route, call: Call, params: Record<string, string>): Promise<Response> {
  const { service, request } = call;
  const { options } = service;
  try {
    if (!route.open && options.apiKey !== undefined) checkKey(request, options.apiKey);
    if (service.isStopping && !route.open) throw stopping();
    const most = Math.ceil(options.bodyBytes * (route.takesDocument ? 1 : OTHER_BODIES));
    const body = route.body && checked(route.body, await readJson(request, most));
    const query = checked(route.query ?? NO_QUERY, readQuery(call.url));
    if (route.readsStores) await service.watch.takeUp();
    const reply = await route.handle({ body, query, params }, call);
    if (reply instanceof Events) return await streamed(reply, call);
    return ended(reply instanceof Response ? reply : Response.json(reply), call);
  } catch (error) {
    return refuse(error, call);
  }
}

function streamed(events: Events, call: Call): Promise<Response> {
  return eventStream(events, {
    stallMs: call.service.options.stallMs,
    abort: (reason) => call.abort(new Refusal(499, `The client has ${reason}.`)),
    describe: (error) => call.refusalOf(error),
    onEnd: (refusal) => call.end(refusal?.status ?? 200),
  });
}

/** Nothing is done for the call any more. */
function ended(response: Response, call: Call): Response {
  call.end(response.status);
  return response;
}

function refuse(error: unknown, call: Call): Response {
  return ended(call.refusalOf(error).response(), call);
}

function notFound({ url }: Call): Refusal {
  return new Refusal(404, `There is nothing at ${url.pathname}. What there is: /openapi.json.`, {
    code: 'not_found',
  });
}

function wrongMethod({ request, url }: Call, allowed: readonly string[]): Refusal {
  return new Refusal(
    405,
    `${url.pathname} takes ${allowed.join(' and ')}, not ${request.method}.`,
    { code: 'method_not_allowed', allow: allowed.join(', ') },
  );
}

function addHeaders(headers: Headers, { id }: Call, origin: string | undefined): void {
  headers.set('x-request-id', id);
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) {
    if (!headers.has(name)) headers.set(name, value);
  }
  if (origin === undefined) return;
  for (const [name, value] of Object.entries(corsHeaders(origin))) headers.set(name, value);
}
