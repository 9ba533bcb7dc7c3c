/**
 * A conversation through Vercel's AI SDK with a model and its memory in this very process: no server, no port. After each
 * answer come the documents that decided it.
 *
 *     npm run build && node examples/ai-sdk-chat.js notes.knn
 *
 * A model made for chat holds the conversation; another, such as the bundled one, continues each line by itself.
 * In a project of your own: npm install ai, and import from 'knnlm' and 'knnlm/ai-sdk'.
 */
import { createInterface } from 'node:readline';
import { streamText } from 'ai';
import { languageModel } from '../dist/ai-sdk/index.js';
import { openKnnLM } from '../dist/index.js';

const [store] = process.argv.slice(2);
if (!store) throw new Error('Name a store: node examples/ai-sdk-chat.js notes.knn');

const memory = await openKnnLM(store);
const model = languageModel(memory, { neighbors: 2 });
const knowsTurns = memory.model.chatTemplate !== undefined;
/** @type {import('ai').ModelMessage[]} */
const messages = [];

const lines = createInterface({ input: process.stdin });
process.stdout.write('> ');
for await (const line of lines) {
  messages.push({ role: 'user', content: line });
  const conversation = knowsTurns ? { messages } : { prompt: line };
  const answer = streamText({ model, ...conversation, maxOutputTokens: 64 });
  for await (const text of answer.textStream) process.stdout.write(text);
  messages.push({ role: 'assistant', content: await answer.text });
  const sources = (await answer.sources).map(({ title }) => title);
  process.stdout.write(`\n  [${sources.join(', ') || 'no document decided a word of it'}]\n> `);
}
await memory.close();
