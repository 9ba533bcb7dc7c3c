/** What a request says, checked: JSON bodies of a bounded size and query strings, against their schemas. */
import type { z } from 'zod';
import { Refusal } from './refusal.ts';

/** Characters of a wrong value that a message shows. */
const SHOWN = 60;

/** Errors: `Refusal` with 413, 415 or 400. */
export async function readJson(request: Request, mostBytes: number): Promise<unknown> {
  const type = request.headers.get('content-type') ?? 'none';
  // Any page may send a form or plain text without a preflight: only JSON is taken.
  if (!/^application\/json\s*(;|$)/i.test(type)) {
    throw new Refusal(415, `The body must be sent as content-type application/json, not ${type}.`);
  }
  const bytes = await readBytes(request, mostBytes);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Refusal(400, 'The body is not UTF-8.');
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refusal(400, `The body is not JSON: ${(error as Error).message}.`);
  }
}

async function readBytes(request: Request, mostBytes: number): Promise<Buffer> {
  const tooLarge = () =>
    new Refusal(413, `The body must not be larger than ${mostBytes} bytes. Send less at a time.`);
  if (Number(request.headers.get('content-length') ?? 0) > mostBytes) throw tooLarge();
  const parts: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const part of request.body ?? []) {
      size += part.length;
      if (size > mostBytes) throw tooLarge();
      parts.push(part);
    }
  } catch (error) {
    if (error instanceof Refusal) throw error;
    throw new Refusal(400, 'The body ended too early.');
  }
  return Buffer.concat(parts);
}

/** Errors: `Refusal` for a name that is given twice. */
export function readQuery(url: URL): Record<string, string> {
  const query: Record<string, string> = Object.create(null);
  for (const [name, value] of url.searchParams) {
    if (name in query)
      throw new Refusal(400, `${shown(name)} is given twice. Give it once.`, { param: name });
    query[name] = value;
  }
  return query;
}

/** Errors: `Refusal` with 400 that names the first wrong field and the value seen. */
export function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const { path, message, input, code } = issue!;
  const param = path.map(String).join('.');
  const seen = code === 'unrecognized_keys' ? '' : `, not ${shown(input)}`;
  const text = `${param === '' ? 'The request' : param}: ${message}${seen}.`;
  throw new Refusal(400, text, { param: param === '' ? undefined : param });
}

function shown(value: unknown): string {
  if (value === undefined) return 'missing';
  const text = JSON.stringify(value) ?? String(value);
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}
