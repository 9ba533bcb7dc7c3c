/** The one file that knows ports and sockets. */
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer, type HttpBindings } from '@hono/node-server';
import { KnnLMError } from '../errors.ts';
import type { KnnLM } from '../knnlm/knnlm.ts';
import { createServer, type KnnServer } from './create-server.ts';
import { LOOPBACK_HOSTS, resolveOptions, type ServerOptions } from './options.ts';

export interface ServeOptions extends ServerOptions {
  /** Default 8080; 0 takes any that is free. */
  port?: number;
  /** Default 127.0.0.1: this machine only. */
  host?: string;
}

export interface Listening {
  host: string;
  port: number;
  /** Where it is reached from this machine. */
  url: string;
  /** Takes no more connections, finishes what it started, or ends it after `graceMs`. */
  close(options?: { graceMs?: number }): Promise<void>;
}

export const DEFAULT_PORT = 8080;
export const DEFAULT_HOST = '127.0.0.1';

/** Longest time for a client to send a request: its first line and headers, and all of it. */
const HEADERS_MS = 20_000;
const REQUEST_MS = 120_000;
/** Each may hold a request's body in memory. */
const MOST_CONNECTIONS = 2048;
/** Longest time without a byte in either direction: a client that takes nothing is let go of. */
const IDLE_MS = 900_000;
/** How long a connection is kept for another request. */
const KEEP_ALIVE_MS = 10_000;
/** While the server ends, connections without a request are looked for this often. */
const CLOSING_MS = 50;

/**
 * Serves open stores. On the loopback interface only names of this machine are heard; on others every name is, and a key
 * is needed. The `KnnLM` stays its opener's.
 * Errors: `INVALID_ARGUMENT` for options that cannot be, a port that is taken or may not be used, a host that is not here,
 * another host than this machine without a key.
 */
export async function serve(knnlm: KnnLM, options: ServeOptions = {}): Promise<Listening> {
  checkServeOptions(options);
  const { port = DEFAULT_PORT, host = DEFAULT_HOST, ...rest } = options;
  const hosts = LOOPBACK.test(host) ? [...LOOPBACK_HOSTS, ...(rest.hosts ?? [])] : 'any';
  const server = createServer(knnlm, { ...rest, hosts: rest.hosts === 'any' ? 'any' : hosts });
  return await listen(server, port, host);
}

const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|::1)$/;

/** Says what is wrong with the options before a model is loaded for nothing. Errors: those of `serve`, but for the port's and the host's. */
export function checkServeOptions({ host = DEFAULT_HOST, ...options }: ServeOptions): void {
  resolveOptions(options);
  if (LOOPBACK.test(host) || options.apiKey !== undefined) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `On ${host} others than this machine reach the server, so it needs a key: --api-key KEY, or the variable KNNLM_API_KEY. Without one keep to ${DEFAULT_HOST}.`,
  );
}

async function listen(server: KnnServer, port: number, host: string): Promise<Listening> {
  const http = createAdaptorServer({
    fetch: (request, env) =>
      server.fetch(request, { address: (env as HttpBindings).incoming.socket.remoteAddress }),
    // The process may be another's: its Request and Response stay what they are.
    overrideGlobalObjects: false,
    serverOptions: {
      headersTimeout: HEADERS_MS,
      requestTimeout: REQUEST_MS,
      keepAliveTimeout: KEEP_ALIVE_MS,
    },
  }) as Server;
  http.timeout = IDLE_MS;
  http.maxConnections = MOST_CONNECTIONS;
  await started(http, port, host);
  const address = http.address() as AddressInfo;
  return {
    host,
    port: address.port,
    url: `http://${urlHost(host)}:${address.port}`,
    async close(closing) {
      const closed = new Promise<void>((resolve) => http.close(() => resolve()));
      const idle = setInterval(() => http.closeIdleConnections(), CLOSING_MS);
      await server.close(closing);
      // What was answered is on its way; nobody may hold the server up by not taking it.
      const rest = setTimeout(() => http.closeAllConnections(), KEEP_ALIVE_MS);
      await closed;
      clearInterval(idle);
      clearTimeout(rest);
    },
  };
}

function started(http: Server, port: number, host: string): Promise<void> {
  return new Promise((resolve, reject) => {
    http.once('error', (cause: NodeJS.ErrnoException) => {
      reject(new KnnLMError('INVALID_ARGUMENT', problem(cause, port, host), { cause }));
    });
    http.listen(port, host, resolve);
  });
}

function problem({ code, message }: NodeJS.ErrnoException, port: number, host: string): string {
  if (code === 'EADDRINUSE') {
    return `Port ${port} of ${host} is taken by another program. Choose another: --port ${port + 1}, or 0 for any that is free.`;
  }
  if (code === 'EACCES') {
    return `Port ${port} may not be opened by this user. Choose one above 1023.`;
  }
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND') {
    return `The host ${host} is not an address of this machine. Use 127.0.0.1, or 0.0.0.0 for all there are.`;
  }
  return `Cannot listen on ${host}, port ${port}: ${message}.`;
}

/** An address as it stands in a URL; of one that means all, this machine's. */
function urlHost(host: string): string {
  if (host === '0.0.0.0' || host === '::') return 'localhost';
  return host.includes(':') ? `[${host}]` : host;
}
