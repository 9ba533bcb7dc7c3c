/** A look at the corpus before a build: exact sizes of its files, and a sample of documents to extrapolate from. */
import { fileSize } from '../files.ts';
import { readChunks, type StreamPosition } from './byte-stream.ts';
import { type InputFile, listInputFiles } from './input-files.ts';
import { complete, readFile } from './read-files.ts';
import type { FoundDocument, ReadContext, ReadDocument } from './source-types.ts';
import { decodeUtf8, wholeCharacters } from './utf8.ts';

export interface DocumentEstimate {
  files: number;
  /** On disk, exact. Standard input counts as nothing. */
  fileBytes: number;
  /** Documents from all over the corpus, about 1 MiB of text; a long text file is cut. */
  sample: ReadDocument[];
  /** Extrapolated from the sample. */
  documents: number;
  textBytes: number;
  /** The sample is the whole corpus. */
  exact: boolean;
}

const SAMPLE_BYTES = 1024 * 1024;
/** Files looked into per kind. */
const SAMPLE_FILES = 16;
/** Files whose size is asked for at once. */
const STAT_BATCH = 64;

interface SizedFile extends InputFile {
  bytes: number;
}

/** What was seen of one kind of file. */
interface Sampled {
  documents: ReadDocument[];
  textBytes: number;
  /** Bytes of files behind that text. */
  fileBytes: number;
  whole: boolean;
}

export async function sampleInputs(
  inputs: readonly string[],
  context: ReadContext,
): Promise<DocumentEstimate> {
  const files = await sized(await listInputFiles(inputs, context));
  const kinds = new Map<string, SizedFile[]>();
  for (const file of files) {
    if (file.format === 'stdin') continue;
    const kind = `${file.format}${file.gzip ? '.gz' : ''}`;
    const group = kinds.get(kind);
    if (group) group.push(file);
    else kinds.set(kind, [file]);
  }
  const estimate: DocumentEstimate = {
    files: files.length,
    fileBytes: files.reduce((sum, { bytes }) => sum + bytes, 0),
    sample: [],
    documents: 0,
    textBytes: 0,
    exact: !files.some(({ format }) => format === 'stdin'),
  };
  for (const group of kinds.values()) {
    const sampled = await sampleGroup(group, SAMPLE_BYTES / kinds.size, context);
    addGroup(estimate, group, sampled);
  }
  return estimate;
}

async function sized(files: InputFile[]): Promise<SizedFile[]> {
  const result: SizedFile[] = [];
  for (let at = 0; at < files.length; at += STAT_BATCH) {
    const batch = files.slice(at, at + STAT_BATCH).map(async (file) => ({
      ...file,
      bytes: file.format === 'stdin' ? 0 : ((await fileSize(file.path)) ?? 0),
    }));
    result.push(...(await Promise.all(batch)));
  }
  return result;
}

async function sampleGroup(
  group: SizedFile[],
  budget: number,
  context: ReadContext,
): Promise<Sampled> {
  const step = Math.max(1, group.length / SAMPLE_FILES);
  const sampled: Sampled = { documents: [], textBytes: 0, fileBytes: 0, whole: step === 1 };
  const picked = Math.min(group.length, SAMPLE_FILES);
  for (let i = 0; i < picked; i++) {
    await sampleFile(group[Math.floor((i + 0.5) * step - 0.5)]!, budget / picked, sampled, context);
  }
  return sampled;
}

async function sampleFile(
  file: SizedFile,
  budget: number,
  sampled: Sampled,
  context: ReadContext,
): Promise<void> {
  const isLongText = file.format === 'text' && file.bytes > budget;
  const documents = isLongText ? beginning(file, budget) : readFile(file, context);
  let fileBytes = 0;
  let textBytes = 0;
  let whole = !isLongText;
  for await (const found of documents) {
    if (textBytes >= budget) {
      whole = false;
      break;
    }
    const document = complete(found, 0);
    sampled.documents.push(document);
    textBytes += document.textBytes;
    fileBytes = found.fileBytes;
  }
  sampled.textBytes += textBytes;
  sampled.fileBytes += whole ? file.bytes : fileBytes;
  sampled.whole &&= whole;
}

/** The first bytes of a text file, as a document. */
async function* beginning(file: SizedFile, budget: number): AsyncGenerator<FoundDocument> {
  const parts: Buffer[] = [];
  const position: StreamPosition = { packed: 0, unpacked: 0 };
  for await (const chunk of readChunks(file, position)) {
    parts.push(chunk);
    if (position.unpacked >= budget) break;
  }
  const bytes = wholeCharacters(Buffer.concat(parts));
  const text = decodeUtf8(bytes, file.path, { invalid: 'replace' });
  const fileBytes = Math.min(position.packed, file.bytes);
  if (text.trim() !== '') yield { id: file.id, text, source: file.path, fileBytes };
}

function addGroup(estimate: DocumentEstimate, group: SizedFile[], sampled: Sampled): void {
  const groupBytes = group.reduce((sum, { bytes }) => sum + bytes, 0);
  const scale = sampled.whole || sampled.fileBytes === 0 ? 1 : groupBytes / sampled.fileBytes;
  const oneEach = group[0]!.format === 'text' || group[0]!.format === 'html';
  const documents = sampled.documents.length;
  estimate.sample.push(...sampled.documents);
  estimate.documents += sampled.whole
    ? documents
    : oneEach
      ? group.length
      : Math.round(documents * scale);
  estimate.textBytes += Math.round(sampled.textBytes * scale);
  estimate.exact &&= sampled.whole;
}
