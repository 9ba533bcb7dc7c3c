/**
 * JSON Lines: `{"id"?, "text", "metadata"?}` a line, or of pairs `{"id"?, "source", "target", "metadata"?}`; other fields are ignored.
 * Ids default to `file#line`.
 */
import { KnnLMError } from '../../errors.ts';
import { type Line, readChunks, type StreamPosition, splitLines } from './byte-stream.ts';
import type { InputFile } from './input-files.ts';
import { bytesUpTo, pairAt } from './read-pairs.ts';
import { type FoundDocument, LONGEST_STRING, type ReadContext } from './source-types.ts';
import { decodeUtf8 } from './utf8.ts';

const SHAPE = '{"id"?: string, "text": string, "metadata"?: object}';
const PAIR_SHAPE = '{"id"?: string, "source": string, "target": string, "metadata"?: object}';

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
    yield { ...document, fileBytes: bytesUpTo(position, line) };
  }
}

function parseLine(
  file: InputFile,
  line: Line,
  context: ReadContext,
): Omit<FoundDocument, 'fileBytes'> | undefined {
  const { settings } = context;
  const shape = settings.pairs ? PAIR_SHAPE : SHAPE;
  const malformed = (problem: string, cause?: unknown): KnnLMError =>
    new KnnLMError(
      'INVALID_DOCUMENT',
      `${where}: expected ${shape} on one line, but ${problem}. Correct the line, or leave it out.`,
      { cause },
    );
  const where = `${file.path}:${line.number}`;
  const json = decodeUtf8(line.bytes, where, { invalid: settings.invalidUtf8, offset: line.start });
  if (json.trim() === '') return undefined;
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw malformed('it is not JSON', cause);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw malformed(`it is ${nameOf(value)}`);
  const fields = value as Record<string, unknown>;
  const { id, metadata } = fields;
  for (const name of settings.pairs ? ['source', 'target'] : ['text']) {
    if (typeof fields[name] === 'string') continue;
    const isPair = !settings.pairs && 'source' in fields && 'target' in fields;
    const hint = isPair ? ' (a pair of "source" and "target" is read as one with --pairs)' : '';
    throw malformed(`"${name}" is ${nameOf(fields[name])}${hint}`);
  }
  const isId = id === undefined || id === null || typeof id === 'string' || typeof id === 'number';
  if (!isId || id === '') throw malformed(`"id" is ${id === '' ? 'empty' : nameOf(id)}`);
  const hasMetadata = metadata !== undefined && metadata !== null;
  if (hasMetadata && (typeof metadata !== 'object' || Array.isArray(metadata)))
    throw malformed(`"metadata" is ${nameOf(metadata)}`);
  const document = documentAt(file, line, fields as Record<string, string>, context);
  return (
    document && {
      ...document,
      ...(id !== undefined && id !== null && { id: String(id) }),
      ...(hasMetadata && { metadata: metadata as Record<string, unknown> }),
    }
  );
}

/** Undefined for an empty one, which is told. */
function documentAt(
  file: InputFile,
  line: Line,
  { text, source, target }: Record<string, string>,
  context: ReadContext,
): Omit<FoundDocument, 'fileBytes'> | undefined {
  if (context.settings.pairs) {
    return pairAt(file, line, { source: source!, target: target! }, context);
  }
  const where = `${file.path}#${line.number}`;
  if (text!.trim() !== '') return { id: `${file.id}#${line.number}`, text: text!, source: where };
  context.onSkip({ source: where, reason: 'empty' });
  return undefined;
}

function nameOf(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'null';
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`.replace('a object', 'an object');
}
