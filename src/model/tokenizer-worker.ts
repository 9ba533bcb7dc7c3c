/** Entry of the tokenizer thread: reads the model folder it was started for, encodes documents, and says what there is to know of the tokens. */
import { parentPort, workerData } from 'node:worker_threads';
import { createHfTokenizer } from './hf-tokenizer.ts';
import { type FactsRequest, readModelFacts } from './model-facts.ts';
import { type ModelJson, readModelJson } from './model-files.ts';
import { TokenTable } from './token-table.ts';
import type { Tokenizer } from './tokenizer.ts';
import { serializeError } from './worker-protocol.ts';

export type TokenizerRequest =
  | { id: number; texts: readonly string[] }
  | { id: number; facts: FactsRequest };

interface Loaded {
  json: ModelJson;
  tokenizer: Tokenizer;
}

const port = parentPort!;
const loaded: Promise<Loaded> = readModelJson((workerData as { folder: string }).folder).then(
  async (json) => ({
    json,
    tokenizer: await createHfTokenizer({ json: json.tokenizer, bos: 0, eos: 0 }),
  }),
);
// Reported with the first request.
loaded.catch(() => {});

port.on('message', async (message: TokenizerRequest) => {
  const { id } = message;
  try {
    const { json, tokenizer } = await loaded;
    if ('facts' in message) {
      const response = readModelFacts(message.facts, json, new TokenTable(json.tokenizer));
      const { bytes, starts, roles } = response.tokens.packed;
      port.postMessage({ id, response }, [bytes.buffer, starts.buffer, roles.buffer]);
      return;
    }
    const response = message.texts.map((text) => tokenizer.encode(text));
    port.postMessage(
      { id, response },
      response.map((ids) => ids.buffer as ArrayBuffer),
    );
  } catch (error) {
    port.postMessage({ id, error: serializeError(error) });
  }
});
