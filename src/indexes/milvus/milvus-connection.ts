/**
 * A connection to Milvus that says in one line what went wrong. Calls that failed for want of the server are made again
 * as long as their caller has patience; all calls that are repeated may be repeated.
 */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { ioError, KnnLMError } from '../../errors.ts';
import type { MilvusAddress } from './milvus-address.ts';
import { loadMilvusSdk, type Sdk } from './milvus-sdk.ts';

export interface MilvusAccess {
  /** `user:password` or an API key. Default: the environment variable KNNLM_MILVUS_TOKEN. */
  token?: string;
  /** PEM file of the authority that signed the server's certificate. Default: KNNLM_MILVUS_CA, else the system's own. */
  caFile?: string;
  /** Time for one call, in milliseconds. Default: KNNLM_MILVUS_TIMEOUT, in seconds; else 30 s. */
  timeoutMs?: number;
}

export interface CallOptions {
  /** How long a server that is away is waited for, in milliseconds. Default 0: one repetition at once. */
  patienceMs?: number;
  /** Told once when waiting begins. */
  onWait?: (reason: string) => void;
  signal?: AbortSignal;
}

/** What every answer of the client holds, at its root or as `status`. */
interface Status {
  code?: number;
  error_code?: string | number;
  reason?: string;
  retriable?: boolean;
}

const TIMEOUT_MS = 30_000;
/** What gRPC servers allow at least. */
const KEEPALIVE_MS = 300_000;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 5000;
/** gRPC: deadline exceeded, resource exhausted, unavailable. */
const TRANSIENT = [4, 8, 14];
const UNKNOWN = 2;
const DEADLINE_EXCEEDED = 4;
/** gRPC: permission denied, unauthenticated. */
const REFUSED = [7, 16];

export class MilvusConnection {
  readonly address: MilvusAddress;
  readonly #access: MilvusAccess;
  readonly #timeoutMs: number;
  #client: Promise<Sdk.MilvusClient> | undefined;
  #greeted: Promise<unknown> | undefined;
  #closed = false;

  /** Opens nothing yet. Errors: `INVALID_ARGUMENT` for a time-out that is none. */
  constructor(address: MilvusAddress, access: MilvusAccess = {}) {
    this.address = address;
    this.#access = access;
    this.#timeoutMs = access.timeoutMs ?? timeoutFromEnvironment();
  }

  /** `host:port` */
  get server(): string {
    return `${this.address.host}:${this.address.port}`;
  }

  /**
   * @param what is done, for the error: `search`, `load entries`
   * Errors: `INDEX_UNAVAILABLE` when the server is away, refuses or is too slow; `INVALID_ARGUMENT` for a token it refuses; `ABORTED`.
   */
  async call<Result>(
    what: string,
    run: (client: Sdk.MilvusClient, sdk: typeof Sdk) => Promise<Result>,
    { patienceMs = 0, onWait, signal }: CallOptions = {},
  ): Promise<Result> {
    const until = performance.now() + patienceMs;
    const sdk = await loadMilvusSdk();
    for (let turn = 0; ; turn++) {
      if (signal?.aborted) throw new KnnLMError('ABORTED', `Stopped before Milvus could ${what}.`);
      const failure = await this.#attempt(run, sdk);
      if (!('failed' in failure)) return failure.result;
      const { failed } = failure;
      const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** turn);
      const mayWait = performance.now() + pause < until || turn === 0;
      if (!failed.isTransient || !mayWait) throw this.#error(what, failed);
      if (turn === 1) onWait?.(failed.reason);
      await sleep(pause);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#client?.then((client) => client.closeConnection()).catch(() => undefined);
  }

  async #attempt<Result>(
    run: (client: Sdk.MilvusClient, sdk: typeof Sdk) => Promise<Result>,
    sdk: typeof Sdk,
  ): Promise<{ result: Result } | { failed: Failure }> {
    if (this.#closed) throw new KnnLMError('ABORTED', 'The connection to Milvus was closed.');
    try {
      const client = await this.#connected(sdk);
      const result = await run(client, sdk);
      const status = statusOf(result);
      if (isSuccess(status)) return { result };
      return { failed: refusal(status) };
    } catch (error) {
      if (error instanceof KnnLMError) throw error;
      return { failed: failureOf(error) };
    }
  }

  /** One client for good: it reconnects by itself, and to make one takes a tenth of a second of the main thread. */
  async #connected(sdk: typeof Sdk): Promise<Sdk.MilvusClient> {
    this.#client ??= this.#open(sdk);
    const client = await this.#client;
    this.#greeted ??= client.connectPromise;
    try {
      await this.#greeted;
    } catch (error) {
      this.#greeted = undefined;
      // The next attempt greets the server anew.
      client.connect(sdk.MilvusClient.sdkInfo.version!);
      client.connectPromise.catch(() => undefined);
      throw error;
    }
    return client;
  }

  async #open(sdk: typeof Sdk): Promise<Sdk.MilvusClient> {
    const { host, port, tls, database } = this.address;
    const token = this.#access.token ?? process.env.KNNLM_MILVUS_TOKEN;
    const ca = this.#access.caFile ?? process.env.KNNLM_MILVUS_CA;
    return new sdk.MilvusClient({
      address: `${host}:${port}`,
      ssl: tls,
      ...(token && { token }),
      ...(database && { database }),
      ...(tls && ca && { tls: { rootCert: await readCertificate(ca) } }),
      timeout: this.#timeoutMs,
      // Repeated here, where the caller's patience is known.
      maxRetries: 0,
      logLevel: 'error',
      telemetry: { enabled: false },
      channelOptions: {
        'grpc.initial_reconnect_backoff_ms': 200,
        'grpc.max_reconnect_backoff_ms': 2000,
        // The client's ten seconds make some servers close the connection under a request that takes longer. Calls have their own time-out.
        'grpc.keepalive_time_ms': KEEPALIVE_MS,
        'grpc.keepalive_permit_without_calls': 0,
      },
    });
  }

  #error(what: string, { reason, code, isRefused }: Failure): KnnLMError {
    if (isRefused) {
      return new KnnLMError(
        'INVALID_ARGUMENT',
        `Milvus at ${this.server} does not let this client in (${reason}). Set KNNLM_MILVUS_TOKEN to user:password or an API key.`,
      );
    }
    if (code === DEADLINE_EXCEEDED) {
      return new KnnLMError(
        'INDEX_UNAVAILABLE',
        `Milvus at ${this.server} took longer than ${this.#timeoutMs / 1000} s to ${what}. Try again, or give it more time with KNNLM_MILVUS_TIMEOUT (in seconds).`,
      );
    }
    return new KnnLMError(
      'INDEX_UNAVAILABLE',
      TRANSIENT.includes(code)
        ? `Milvus at ${this.server} does not answer (${reason}). Start it and try again.`
        : `Milvus at ${this.server} could not ${what}: ${reason}.`,
    );
  }
}

interface Failure {
  code: number;
  reason: string;
  isTransient: boolean;
  isRefused: boolean;
}

export function statusOf(result: unknown): Status {
  const answer = result as { status?: Status } | undefined;
  return answer?.status ?? (result as Status | undefined) ?? {};
}

/** Some servers set only the old code, some only the new one. */
export const isSuccess = ({ code = 0, error_code: old }: Status): boolean =>
  Number(code) === 0 && (old === undefined || old === 'Success' || Number(old) === 0);

const refusal = ({ code, reason, retriable }: Status): Failure => ({
  // Not a gRPC code: the server answered.
  code: -Number(code ?? 0),
  reason: oneLine(reason || 'it gave no reason'),
  isTransient: retriable === true,
  isRefused: false,
});

function failureOf(error: unknown): Failure {
  const { code, details, message, reason } = error as {
    code?: number;
    details?: string;
    message?: string;
    reason?: string;
  };
  const number = typeof code === 'number' ? code : UNKNOWN;
  return {
    code: number,
    reason: oneLine(details || message || reason || String(error)),
    isTransient: TRANSIENT.includes(number),
    isRefused: REFUSED.includes(number),
  };
}

/** What gRPC says about a connection that it could not make, without what it says beside. */
const CONNECTION =
  /^No connection established\. Last error: (?:Error: )?(.*?)\.? Resolution note:.*$/;

function oneLine(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  const [, cause] = CONNECTION.exec(line) ?? [];
  if (cause !== undefined) return cause === 'null' ? 'no connection' : cause;
  return line.replace(/\.$/, '');
}

function timeoutFromEnvironment(): number {
  const text = process.env.KNNLM_MILVUS_TIMEOUT;
  if (text === undefined || text === '') return TIMEOUT_MS;
  const seconds = Number(text);
  if (seconds > 0 && seconds <= 3600) return seconds * 1000;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `KNNLM_MILVUS_TIMEOUT must be a number of seconds up to 3600, not ${JSON.stringify(text)}.`,
  );
}

async function readCertificate(path: string): Promise<Buffer> {
  return await readFile(path).catch((cause) => {
    throw ioError('read the certificate', path, cause);
  });
}
