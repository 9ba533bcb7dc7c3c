/** Reads documents in a thread of its own: unpacking, parsing and hashing would block the event loop. */
import { parentPort, workerData } from 'node:worker_threads';
import { KnnLMError } from '../../errors.ts';
import { readInputs } from './read-files.ts';
import { type DocumentEstimate, sampleInputs } from './sample-files.ts';
import type { ReadDocument, ReadSettings, Skip } from './source-types.ts';

export interface ReadJob {
  task: 'read' | 'sample';
  inputs: readonly string[];
  settings: ReadSettings;
}

/** Answer to one message from the main thread, which asks when it wants more. */
export interface ReadReply {
  skips: Skip[];
  documents?: ReadDocument[];
  estimate?: DocumentEstimate;
  /** Nothing more will come. */
  done: boolean;
  error?: { code?: KnnLMError['code']; message: string; stack?: string };
}

/** Per reply: large enough that messages cost little, small enough that copying one takes no time worth noticing. */
const BATCH_BYTES = 256 * 1024;
const BATCH_DOCUMENTS = 500;
const BATCH_SKIPS = 1000;

const { task, inputs, settings } = workerData as ReadJob;
let skips: Skip[] = [];
const context = { settings, onSkip: (skip: Skip) => void skips.push(skip) };
const documents = task === 'read' ? readInputs(inputs, context) : undefined;

async function nextReply(): Promise<ReadReply> {
  if (!documents) {
    const estimate = await sampleInputs(inputs, context);
    return { skips, estimate, done: true };
  }
  const batch: ReadDocument[] = [];
  let done = false;
  try {
    for (let bytes = 0; bytes < BATCH_BYTES && batch.length < BATCH_DOCUMENTS; ) {
      if (skips.length >= BATCH_SKIPS) break;
      const next = await documents.next();
      if (next.done) {
        done = true;
        break;
      }
      batch.push(next.value);
      bytes += next.value.textBytes;
    }
  } catch (error) {
    return { ...failed(error), documents: batch };
  }
  return { skips: takeSkips(), documents: batch, done };
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
  const reply = await nextReply().catch(failed);
  parentPort!.postMessage(reply);
  if (reply.done) parentPort!.close();
});
