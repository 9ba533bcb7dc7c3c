/** Entry of the tokenizer thread: reads the model folder it was started for, encodes documents, and says what there is to know of the tokens. */
import { parentPort, workerData } from 'node:worker_threads';
import { type ChatMessage, renderChat } from './chat-template.ts';
import { continuingJson, createHfTokenizer, tokenizerFacts } from './hf-tokenizer.ts';
import { type FactsRequest, readModelFacts } from './model-facts.ts';
import { type ModelJson, parseTokenizer, readModelJson } from './model-files.ts';
import { splitSpecialTokens } from './special-tokens.ts';
import { type TokenizerJson, TokenTable } from './token-table.ts';
import type { Tokenizer } from './tokenizer.ts';
import { serializeError } from './worker-protocol.ts';

export type TokenizerRequest =
  | { id: number; tokens: true }
  | { id: number; texts: readonly string[] }
  | { id: number; messages: readonly ChatMessage[] }
  | { id: number; facts: FactsRequest };

const port = parentPort!;
const { folder } = workerData as { folder: string };
const read: Promise<ModelJson> = readModelJson(folder);
const parsed: Promise<TokenizerJson> = read.then(({ tokenizerBytes }) =>
  parseTokenizer(folder, tokenizerBytes),
);
// Reported with the first request.
for (const file of [read, parsed]) file.catch(() => {});
const table = async (): Promise<TokenTable> => new TokenTable(await parsed);
let tokenizer: Promise<Tokenizer> | undefined;
let continuing: Promise<Tokenizer> | undefined;
const openTokenizer = (): Promise<Tokenizer> =>
  (tokenizer ??= parsed.then((json) => createHfTokenizer({ json, bos: 0, eos: 0 })));

port.on('message', async (message: TokenizerRequest) => {
  const { id } = message;
  try {
    if ('facts' in message) {
      const response = readModelFacts(message.facts, await read, await table());
      port.postMessage({ id, response });
      return;
    }
    const ready = await openTokenizer();
    if ('tokens' in message) {
      const response = tokenizerFacts(await parsed, await table());
      const { bytes, starts, roles } = response.packed;
      port.postMessage({ id, response }, [bytes.buffer, starts.buffer, roles.buffer]);
      return;
    }
    if ('messages' in message) {
      port.postMessage({ id, response: await encodeChat(message.messages, ready) });
      return;
    }
    const response = message.texts.map((text) => ready.encode(text));
    port.postMessage(
      { id, response },
      response.map((ids) => ids.buffer as ArrayBuffer),
    );
  } catch (error) {
    port.postMessage({ id, error: serializeError(error) });
  }
});

/** Special tokens that the template wrote are tokens; what looks like one in a message is text. */
async function encodeChat(messages: readonly ChatMessage[], ready: Tokenizer): Promise<Int32Array> {
  const json = await parsed;
  const { chatTemplate: template, tokenizerConfig } = await read;
  const added = json.added_tokens ?? [];
  const { text, guard } = await renderChat(messages, { template, tokenizerConfig, added });
  const later = await (continuing ??= createHfTokenizer({
    json: continuingJson(json),
    bos: 0,
    eos: 0,
  }));
  const ids = splitSpecialTokens(text, added).flatMap((part, i) => {
    if ('id' in part) return [part.id];
    return Array.from((i === 0 ? ready : later).encode(part.text.replaceAll(guard, '')));
  });
  return Int32Array.from(ids);
}
