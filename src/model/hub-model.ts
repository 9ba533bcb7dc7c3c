/**
 * A model of the Hugging Face hub, downloaded once: its JSON files, and the one graph of the wanted dtype with its external data
 * (of an encoder-decoder the encoder too).
 *
 * The files are real files in `<home>/models/<org>/<name>`, laid out as on the hub: onnxruntime refuses external data behind
 * symbolic links that leave the model's folder, which is how the hub's usual cache is built. A note in the folder says which
 * files are complete, so that a model once downloaded needs no network. `HF_ENDPOINT` names a mirror, `HF_TOKEN` a token.
 */
import { mkdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ListFileEntry } from '@huggingface/hub';
import { ioError, KnnLMError } from '../errors.ts';
import { downloadFile } from './download-file.ts';
import { HubConnection } from './hub-connection.ts';
import type { DownloadProgress, ModelDtype } from './language-model.ts';
import { JSON_FILES, rankGraphs, TEMPLATE_FILE } from './model-files.ts';

export interface DownloadModelOptions {
  /** Folder for all models, see `knnlmHome`. */
  home: string;
  dtype?: ModelDtype;
  onDownload?: (progress: DownloadProgress) => void;
  signal?: AbortSignal;
}

/** Which files are complete, with their sizes in bytes. A graph is downloaded last: if it is there, so is its data. */
interface DownloadNote {
  id: string;
  /** The graph that the hub offers first: what no wish for a dtype means. */
  best?: string;
  files: Record<string, number>;
}

const NOTE = '.knnlm-download.json';
const HUB_ID = /^[A-Za-z0-9][A-Za-z0-9._-]*\/[A-Za-z0-9_][A-Za-z0-9._-]*$/;

export function isHubId(name: string): boolean {
  return HUB_ID.test(name) && !name.includes('..');
}

/**
 * What has come stays for the next time. Errors: `DOWNLOAD_FAILED`, `MODEL_NOT_FOUND`, `MODEL_UNSUPPORTED`, `INVALID_ARGUMENT`,
 * `DISK_FULL`, `IO`, and `ABORTED` for whatever fails after the signal.
 *
 * @returns the folder, complete for the wanted dtype
 */
export async function downloadModel(id: string, options: DownloadModelOptions): Promise<string> {
  try {
    return await download(id, options);
  } catch (cause) {
    if (!options.signal?.aborted) throw cause;
    throw new KnnLMError('ABORTED', 'The download was stopped.', { cause });
  }
}

async function download(id: string, options: DownloadModelOptions): Promise<string> {
  const folder = join(options.home, 'models', ...id.split('/'));
  const note = await readNote(folder, id);
  if (await isComplete(folder, note, options.dtype)) return folder;

  const hub = new HubConnection(options.signal);
  const listed = await hub.listFiles(id);
  const { wanted, best } = chooseFiles(id, listed, options.dtype);
  note.best = best;
  await mkdir(folder, { recursive: true }).catch((cause) => {
    throw ioError('create', folder, cause);
  });
  const totalBytes = wanted.reduce((sum, entry) => sum + entry.size, 0);
  let doneBytes = 0;
  for (const entry of wanted) {
    await downloadFile({
      hub,
      url: hub.fileUrl(id, entry.path),
      path: join(folder, ...entry.path.split('/')),
      size: entry.size,
      checksum: entry.lfs
        ? { kind: 'sha256', hex: entry.lfs.oid }
        : { kind: 'git-blob', hex: entry.oid ?? '' },
      onReceived: (bytes) =>
        options.onDownload?.({ file: entry.path, receivedBytes: doneBytes + bytes, totalBytes }),
      signal: options.signal,
    });
    doneBytes += entry.size;
    note.files[entry.path] = entry.size;
    await writeNote(folder, note);
  }
  return folder;
}

const BESIDE_GRAPH = [...JSON_FILES, TEMPLATE_FILE];

/** The JSON files, the best graph of the dtype with the graphs that belong to it, and whatever lies beside them under their names. */
function chooseFiles(
  id: string,
  listed: readonly ListFileEntry[],
  dtype: ModelDtype | undefined,
): { wanted: ListFileEntry[]; best: string } {
  const files = listed.filter((entry) => entry.type === 'file');
  for (const { path } of files) refuseUnsafePath(id, path);
  const graphs = rankGraphs(files.map((entry) => entry.path));
  const graph = dtype ? graphs.find((g) => g.dtype === dtype) : graphs[0];
  if (graph === undefined) {
    const offered = [...new Set(graphs.map((g) => g.dtype))].join(', ');
    throw new KnnLMError(
      'MODEL_UNSUPPORTED',
      graphs.length === 0
        ? `${id} has no ONNX graph. Look for an ONNX export of it, for instance in the hub's organization onnx-community.`
        : `${id} has no ${dtype} graph. It offers: ${offered}.`,
    );
  }
  const beside = [graph.encoder, graph.onward].filter((file) => file !== undefined);
  const isData = (path: string) => [...beside, graph.file].some((file) => isDataOf(file, path));
  const rank = (path: string) => {
    if ((BESIDE_GRAPH as readonly string[]).includes(path)) return 0;
    return isData(path) ? 1 : beside.includes(path) ? 2 : 3;
  };
  const wanted = files
    .filter(({ path }) => rank(path) < 3 || path === graph.file)
    .sort((a, b) => rank(a.path) - rank(b.path));
  return { wanted, best: graphs[0]!.file };
}

const isDataOf = (graph: string, path: string): boolean =>
  path.startsWith(`${graph}_data`) ||
  path === `${graph}.data` ||
  path === graph.replace(/\.onnx$/, '.data');

/** A listing comes from the network: its names must stay inside the folder. */
function refuseUnsafePath(id: string, path: string): void {
  const parts = path.split('/');
  const unsafe =
    path.includes('\\') ||
    path.includes('\0') ||
    path.includes(':') ||
    parts.some((part) => part === '' || part === '.' || part === '..');
  if (unsafe) {
    throw new KnnLMError(
      'DOWNLOAD_FAILED',
      `The listing of ${id} names a file outside its folder: ${JSON.stringify(path)}. Do not use this server.`,
    );
  }
}

async function readNote(folder: string, id: string): Promise<DownloadNote> {
  try {
    const note = JSON.parse(await readFile(join(folder, NOTE), 'utf8')) as DownloadNote;
    if (note.id === id && typeof note.files === 'object') return note;
  } catch {
    // Absent or unreadable: nothing counts as complete, and checksums decide anew.
  }
  return { id, files: {} };
}

async function writeNote(folder: string, note: DownloadNote): Promise<void> {
  const path = join(folder, NOTE);
  const temporary = `${path}.${process.pid}`;
  try {
    await writeFile(temporary, `${JSON.stringify(note, null, 1)}\n`);
    await rename(temporary, path);
  } catch (cause) {
    throw ioError('write', path, cause);
  }
}

async function isComplete(
  folder: string,
  note: DownloadNote,
  dtype: ModelDtype | undefined,
): Promise<boolean> {
  const graphs = rankGraphs(Object.keys(note.files));
  if (!graphs.some((g) => (dtype ? g.dtype === dtype : g.file === note.best))) return false;
  for (const [file, size] of Object.entries(note.files)) {
    const found = await stat(join(folder, ...file.split('/'))).catch(() => undefined);
    if (found?.size !== size) return false;
  }
  return true;
}
