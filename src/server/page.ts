/**
 * The inspector page. Its files are listed once and found by their exact names: no path of a request ever reaches the
 * file system. Nothing from elsewhere is loaded or framed.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { extname, join, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../web', import.meta.url));

const TYPES: Record<string, string> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.woff2': 'font/woff2',
};

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' blob:",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ');

interface PageFile {
  bytes: Buffer<ArrayBuffer>;
  etag: string;
  type: string;
  /** Its name changes with its content. */
  isHashed: boolean;
}

/** By path from the root, such as `/assets/index-abc.js`. Empty when the page was not built. */
export function readPage(folder: string = FOLDER): ReadonlyMap<string, PageFile> {
  const files = new Map<string, PageFile>();
  let names: string[] = [];
  try {
    names = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  } catch {
    // Not built.
  }
  for (const name of names) {
    const path = join(folder, name);
    if (!statSync(path).isFile()) continue;
    const url = `/${name.split(sep).join('/')}`;
    const bytes = readFileSync(path);
    files.set(url, {
      bytes,
      etag: `"${createHash('sha256').update(bytes).digest('hex').slice(0, 24)}"`,
      type: TYPES[extname(name)] ?? 'application/octet-stream',
      isHashed: url.startsWith('/assets/'),
    });
  }
  const index = files.get('/index.html');
  if (index) files.set('/', index);
  return files;
}

export function pageResponse(file: PageFile, request: Request): Response {
  const headers = {
    'content-type': file.type,
    'content-security-policy': POLICY,
    'cross-origin-opener-policy': 'same-origin',
    'cache-control': file.isHashed ? 'public, max-age=31536000, immutable' : 'no-cache',
    etag: file.etag,
  };
  if (request.headers.get('if-none-match') === file.etag) {
    return new Response(null, { status: 304, headers });
  }
  return new Response(file.bytes, { headers });
}
