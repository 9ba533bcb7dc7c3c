/** Reads documents in a thread of its own: unpacking, parsing and hashing would block the event loop. */
import { parentPort, workerData } from 'node:worker_threads';
import { KnnLMError } from '../../errors.ts';
import type { InputFile } from './input-files.ts';
import { type FileFinding, readEach, readInputs } from './read-files.ts';
import { type DocumentEstimate, sampleInputs } from './sample-files.ts';
import type { ReadDocument, ReadSettings, Skip } from './source-types.ts';

/** `read` and `sample` what a user named; `each` of some files, `digest` without the texts. */
export type ReadTask =
  | { task: 'read'; inputs: readonly string[] }
  | { task: 'sample'; inputs: readonly string[] }
  | { task: 'each' | 'digest'; files: readonly InputFile[] };

export type ReadJob = ReadTask & { settings: ReadSettings };

/** Answer to one message from the main thread, which asks when it wants more. */
export interface ReadReply {
  skips: Skip[];
  documents?: ReadDocument[];
  findings?: FileFinding[];
  estimate?: DocumentEstimate;
  /** Nothing more will come. */
  done: boolean;
  error?: { code?: KnnLMError['code']; message: string; stack?: string };
}

/** Per reply: large enough that messages cost little, small enough that copying one takes no time worth noticing. */
const BATCH_BYTES = 256 * 1024;
const BATCH_DOCUMENTS = 500;
const BATCH_SKIPS = 1000;

const job = workerData as ReadJob;
let skips: Skip[] = [];
const context = { settings: job.settings, onSkip: (skip: Skip) => void skips.push(skip) };
const reply = replier();

function replier(): () => Promise<ReadReply> {
  if (job.task === 'sample')
    return async () => ({ skips, estimate: await sampleInputs(job.inputs, context), done: true });
  if (job.task === 'read') {
    const documents = readInputs(job.inputs, context);
    return async () => {
      const { items, ...rest } = await nextBatch(documents, ({ textBytes }) => textBytes);
      return { ...rest, documents: items };
    };
  }
  const isDigest = job.task === 'digest';
  const findings = readEach(job.files, context);
  return async () => {
    const { items, ...rest } = await nextBatch(findings, ({ document }) => {
      if (isDigest && document) {
        document.text = '';
        delete document.sourceText;
      }
      return document?.textBytes ?? 0;
    });
    return { ...rest, findings: items };
  };
}

async function nextBatch<Item>(
  source: AsyncIterator<Item>,
  bytesOf: (item: Item) => number,
): Promise<ReadReply & { items: Item[] }> {
  const items: Item[] = [];
  let done = false;
  try {
    for (let bytes = 0; bytes < BATCH_BYTES && items.length < BATCH_DOCUMENTS; ) {
      if (skips.length >= BATCH_SKIPS) break;
      const next = await source.next();
      if (next.done) {
        done = true;
        break;
      }
      bytes += bytesOf(next.value);
      items.push(next.value);
    }
  } catch (error) {
    return { ...failed(error), items };
  }
  return { skips: takeSkips(), items, done };
}

function failed(error: unknown): ReadReply {
  const { message, stack } = error instanceof Error ? error : new Error(String(error));
  const code = error instanceof KnnLMError ? error.code : undefined;
  return { skips: takeSkips(), done: true, error: { code, message, stack } };
}

function takeSkips(): Skip[] {
  const taken = skips;
  skips = [];
  return taken;
}

parentPort!.on('message', async () => {
  const answer = await reply().catch(failed);
  parentPort!.postMessage(answer);
  if (answer.done) parentPort!.close();
});
