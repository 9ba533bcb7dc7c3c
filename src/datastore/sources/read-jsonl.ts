/** JSON Lines: `{"id"?, "text", "metadata"?}` a line; other fields are ignored. Ids default to `file#line`. */
import { KnnLMError } from '../../errors.ts';
import { type Line, readChunks, type StreamPosition, splitLines } from './byte-stream.ts';
import type { InputFile } from './input-files.ts';
import { type FoundDocument, LONGEST_STRING, type ReadContext } from './source-types.ts';
import { decodeUtf8 } from './utf8.ts';

const SHAPE = '{"id"?: string, "text": string, "metadata"?: object}';

/** Errors: `INVALID_DOCUMENT`, naming file, line and what was expected. */
export async function* readJsonl(
  file: InputFile,
  context: ReadContext,
  chunks?: AsyncIterable<Buffer>,
): AsyncGenerator<FoundDocument> {
  const position: StreamPosition = { packed: 0, unpacked: 0 };
  const limit = context.settings.maxDocumentBytes ?? LONGEST_STRING;
  for await (const line of splitLines(chunks ?? readChunks(file, position), file.path, limit)) {
    const document = parseLine(file, line, context);
    if (!document) continue;
    // Of a packed file only the chunk's place is known: the line's share of what it unpacked to.
    const share = position.unpacked > 0 ? line.end / position.unpacked : 1;
    yield { ...document, fileBytes: Math.round(position.packed * share) };
  }
}

function parseLine(
  file: InputFile,
  line: Line,
  { settings, onSkip }: ReadContext,
): Omit<FoundDocument, 'fileBytes'> | undefined {
  const where = `${file.path}:${line.number}`;
  const json = decodeUtf8(line.bytes, where, { invalid: settings.invalidUtf8, offset: line.start });
  if (json.trim() === '') return undefined;
  const value = parse(json, where);
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw malformed(where, `it is ${nameOf(value)}`);
  const { id, text, metadata } = value as Record<string, unknown>;
  if (typeof text !== 'string') throw malformed(where, `"text" is ${nameOf(text)}`);
  const isId = id === undefined || id === null || typeof id === 'string' || typeof id === 'number';
  if (!isId || id === '') throw malformed(where, `"id" is ${id === '' ? 'empty' : nameOf(id)}`);
  const hasMetadata = metadata !== undefined && metadata !== null;
  if (hasMetadata && (typeof metadata !== 'object' || Array.isArray(metadata)))
    throw malformed(where, `"metadata" is ${nameOf(metadata)}`);
  const source = `${file.path}#${line.number}`;
  if (text.trim() === '') {
    onSkip({ source, reason: 'empty' });
    return undefined;
  }
  return {
    id: id === undefined || id === null ? `${file.id}#${line.number}` : String(id),
    text,
    source,
    ...(hasMetadata ? { metadata: metadata as Record<string, unknown> } : {}),
  };
}

function parse(json: string, where: string): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw malformed(where, 'it is not JSON', cause);
  }
}

function malformed(where: string, problem: string, cause?: unknown): KnnLMError {
  return new KnnLMError(
    'INVALID_DOCUMENT',
    `${where}: expected ${SHAPE} on one line, but ${problem}. Correct the line, or leave it out.`,
    { cause },
  );
}

function nameOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`.replace('a object', 'an object');
}
