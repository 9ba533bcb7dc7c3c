/** Entry of the tokenizer thread: encodes documents of the model folder it was started for. */
import { parentPort, workerData } from 'node:worker_threads';
import { createHfTokenizer } from './hf-tokenizer.ts';
import { readModelJson } from './model-files.ts';
import type { Tokenizer } from './tokenizer.ts';
import { serializeError } from './worker-protocol.ts';

const port = parentPort!;
const tokenizer: Promise<Tokenizer> = readModelJson((workerData as { folder: string }).folder).then(
  ({ tokenizer: json }) => createHfTokenizer({ json, bos: 0, eos: 0 }),
);
// Reported with the first request.
tokenizer.catch(() => {});

port.on('message', async ({ id, texts }: { id: number; texts: readonly string[] }) => {
  try {
    const ready = await tokenizer;
    const response = texts.map((text) => ready.encode(text));
    const buffers = response.map((ids) => ids.buffer as ArrayBuffer);
    port.postMessage({ id, response }, buffers);
  } catch (error) {
    port.postMessage({ id, error: serializeError(error) });
  }
});
