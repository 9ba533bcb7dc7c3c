/**
 * One file over HTTP: it continues where an earlier attempt stopped, is checked against the hub's checksum, and appears under its name
 * only when whole. What has come so far lies in `<file>.<checksum's head>.incomplete`, so a file that changed on the hub starts anew.
 */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ioError, KnnLMError } from '../errors.ts';
import { type HubConnection, TransientError } from './hub-connection.ts';

export interface Checksum {
  /** Large files are named by their sha256; the others by git, sha1 over `blob <size>\0` and the bytes. */
  kind: 'sha256' | 'git-blob';
  hex: string;
}

export interface DownloadFileOptions {
  hub: HubConnection;
  url: string;
  path: string;
  /** Bytes. */
  size: number;
  checksum: Checksum;
  onReceived?: (bytes: number) => void;
  signal?: AbortSignal;
}

/** Attempts in a row that may bring nothing. */
const MAX_FRUITLESS = 4;
const RETRY_DELAY_MS = 100;

export async function downloadFile(options: DownloadFileOptions): Promise<void> {
  const { path, size, checksum } = options;
  if (await matches(path, options)) {
    options.onReceived?.(size);
    return;
  }
  const partial = `${path}.${checksum.hex.slice(0, 12)}.incomplete`;
  await mkdir(dirname(path), { recursive: true }).catch((cause) => {
    throw ioError('create', dirname(path), cause);
  });
  await receive(partial, options);
  if (!(await matches(partial, options))) {
    await rm(partial, { force: true });
    throw new KnnLMError(
      'DOWNLOAD_FAILED',
      `${basename(path)} arrived damaged: its ${checksum.kind} is not ${checksum.hex}. Run the command again.`,
    );
  }
  await rename(partial, path).catch((cause) => {
    throw ioError('write', path, cause);
  });
}

/** Fetches until the partial file has its full size, continuing after broken connections. */
async function receive(partial: string, options: DownloadFileOptions): Promise<void> {
  let fruitless = 0;
  for (;;) {
    const before = await sizeOf(partial);
    if (before === options.size) return;
    if (before > options.size) await rm(partial, { force: true });
    try {
      await receiveOnce(partial, options);
    } catch (cause) {
      const gained = (await sizeOf(partial)) > before;
      fruitless = gained ? 0 : fruitless + 1;
      if (
        !(cause instanceof TransientError) ||
        options.signal?.aborted ||
        fruitless >= MAX_FRUITLESS
      )
        throw cause;
      await sleep(RETRY_DELAY_MS * 2 ** fruitless, undefined, { signal: options.signal });
    }
  }
}

async function receiveOnce(partial: string, options: DownloadFileOptions): Promise<void> {
  const { hub, url, size } = options;
  const have = await sizeOf(partial);
  const response = await hub.fetch(url, have > 0 ? { Range: `bytes=${have}-` } : {});
  if (response.status === 416) {
    // The server's file is shorter than what lies here: begin again.
    await rm(partial, { force: true });
    throw new TransientError(
      'DOWNLOAD_FAILED',
      `${url} refused to continue at byte ${have}. Run the command again.`,
    );
  }
  if (!response.ok || response.body === null) {
    await response.body?.cancel();
    throw hub.refusal(new URL(url).pathname.split('/resolve/')[0]!.slice(1), response.status);
  }
  const resumed =
    response.status === 206 && response.headers.get('content-range')?.startsWith(`bytes ${have}-`);
  const reader = response.body.getReader();
  try {
    await append(piecesOf(reader, options), partial, resumed ? have : 0, options);
  } finally {
    await reader.cancel().catch(() => {});
  }
  if ((await sizeOf(partial)) < size) {
    throw new TransientError(
      'DOWNLOAD_FAILED',
      `The connection to ${new URL(url).host} ended early. Run the command again.`,
    );
  }
}

/** Writes what comes after the `start` bytes that stay. */
async function append(
  pieces: AsyncIterable<Uint8Array>,
  partial: string,
  start: number,
  options: DownloadFileOptions,
): Promise<void> {
  const file = await open(partial, start > 0 ? 'a' : 'w').catch((cause) => {
    throw ioError('write', partial, cause);
  });
  try {
    let received = start;
    for await (const piece of pieces) {
      received += piece.length;
      if (received > options.size) {
        throw new KnnLMError(
          'DOWNLOAD_FAILED',
          `${options.url} sends more than the ${options.size} bytes announced. Run the command again.`,
        );
      }
      await file.writeFile(piece).catch((cause) => {
        throw ioError('write', partial, cause);
      });
      options.onReceived?.(received);
    }
  } finally {
    await file.close();
  }
}

/**
 * What a connection brings. The next piece is asked for before this one is taken, the first at once: what has come and was not asked for is lost
 * when the connection breaks, and an attempt of which nothing remains counts as fruitless.
 */
function piecesOf(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  { hub, url }: DownloadFileOptions,
): AsyncIterable<Uint8Array> {
  const ask = () => {
    const asked = reader.read();
    asked.catch(() => {}); // told to whoever takes it
    return asked;
  };
  let next = ask();
  return (async function* () {
    for (;;) {
      const { done, value } = await next.catch((cause) => {
        throw hub.unreachable(new URL(url).origin, cause);
      });
      if (done) return;
      next = ask();
      yield value;
    }
  })();
}

async function sizeOf(path: string): Promise<number> {
  return (await stat(path).catch(() => undefined))?.size ?? 0;
}

/** Whether the file is there, of the right size, with the right checksum. */
async function matches(path: string, { size, checksum }: DownloadFileOptions): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (found?.size !== size) return false;
  const hash: Hash =
    checksum.kind === 'sha256' ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk);
  return hash.digest('hex') === checksum.hex;
}
