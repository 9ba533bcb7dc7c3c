/** A server on this machine that speaks the hub's addresses: listing in pages, files by redirect to a second host, byte ranges. */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface HubServer {
  url: string;
  /** Path, Range and Authorization of every request, by host. */
  requests: { host: 'hub' | 'storage'; path: string; range?: string; authorization?: string }[];
  /** Called for each file answer; returns after how many bytes to break the connection, or undefined for never. */
  breakAfter: (path: string, length: number) => number | undefined;
  /** Status for everything instead of an answer. */
  status: number | undefined;
  /** Names put into the listing as they are. */
  extraNames: string[];
  /** Whether ranges are honored. */
  ranges: boolean;
  close(): Promise<void>;
}

const sha = (kind: string, ...parts: (string | Buffer)[]): string => {
  const hash = createHash(kind);
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
};

/** Serves `files` as the model `id`. Files with `.onnx` in their name are large ones, named by sha256; `oids` overrides checksums. */
export async function startHub(
  id: string,
  files: Record<string, Buffer>,
  oids: Record<string, string> = {},
): Promise<HubServer> {
  const hub = {
    requests: [],
    breakAfter: () => undefined,
    status: undefined,
    extraNames: [],
    ranges: true,
  } as unknown as HubServer;
  const note = (host: 'hub' | 'storage', request: IncomingMessage) => {
    const { range, authorization } = request.headers;
    hub.requests.push({ host, path: request.url!, range, authorization });
  };

  const storage = createServer((request, response) => {
    note('storage', request);
    sendFile(hub, request, response, decodeURIComponent(request.url!.slice(1)), files);
  });
  const storageUrl = await listen(storage, 'localhost');

  const front = createServer((request, response) => {
    note('hub', request);
    if (hub.status !== undefined) {
      response.writeHead(hub.status, { 'content-type': 'application/json' });
      response.end('{"error":"no"}');
      return;
    }
    const url = new URL(request.url!, hub.url);
    if (url.pathname === `/api/models/${id}/tree/main`) {
      const entries = listing(files, oids, hub.extraNames);
      const page = Number(url.searchParams.get('page') ?? 0);
      const size = 3;
      if ((page + 1) * size < entries.length) {
        url.searchParams.set('page', String(page + 1));
        response.setHeader('link', `<${url.href}>; rel="next"`);
      }
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(entries.slice(page * size, (page + 1) * size)));
      return;
    }
    const file = decodeURIComponent(url.pathname.replace(`/${id}/resolve/main/`, ''));
    if (files[file] === undefined) {
      response.writeHead(404).end();
    } else if (file.includes('.onnx')) {
      response.writeHead(302, { location: `${storageUrl}/${encodeURIComponent(file)}` }).end();
    } else {
      sendFile(hub, request, response, file, files);
    }
  });
  hub.url = await listen(front, '127.0.0.1');
  hub.close = async () => {
    await Promise.all(
      [front, storage].map(
        (server) =>
          new Promise((done) => {
            server.closeAllConnections();
            server.close(done);
          }),
      ),
    );
  };
  return hub;
}

function listing(
  files: Record<string, Buffer>,
  oids: Record<string, string>,
  extra: string[],
): object[] {
  const entries: object[] = [{ type: 'directory', path: 'onnx', size: 0, oid: '0'.repeat(40) }];
  for (const [path, bytes] of Object.entries(files)) {
    const oid = oids[path] ?? sha('sha1', `blob ${bytes.length}\0`, bytes);
    const lfs = { oid: oids[path] ?? sha('sha256', bytes), size: bytes.length, pointerSize: 130 };
    const large = path.includes('.onnx');
    entries.push({ type: 'file', path, size: bytes.length, oid, ...(large ? { lfs } : {}) });
  }
  for (const path of extra) entries.push({ type: 'file', path, size: 1, oid: '0'.repeat(40) });
  return entries;
}

function sendFile(
  hub: HubServer,
  request: IncomingMessage,
  response: ServerResponse,
  file: string,
  files: Record<string, Buffer>,
): void {
  const all = files[file]!;
  const start = hub.ranges
    ? Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    : 0;
  if (start >= all.length) {
    response.writeHead(416).end();
    return;
  }
  const bytes = all.subarray(start);
  const headers: Record<string, string | number> = { 'content-length': bytes.length };
  if (start > 0) headers['content-range'] = `bytes ${start}-${all.length - 1}/${all.length}`;
  response.writeHead(start > 0 ? 206 : 200, headers);
  const cut = hub.breakAfter(file, bytes.length);
  if (cut === undefined) response.end(bytes);
  else response.write(bytes.subarray(0, cut), () => response.destroy());
}

function listen(server: Server, host: string): Promise<string> {
  return new Promise((resolve) => {
    server.listen(0, host, () =>
      resolve(`http://${host}:${(server.address() as AddressInfo).port}`),
    );
  });
}
