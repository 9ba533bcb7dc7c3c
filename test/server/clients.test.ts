/** Real clients through a real socket: OpenAI's, the AI SDK over HTTP and in this process, the examples, the README's curl. */
import { execFile, spawn } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, streamText } from 'ai';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { languageModel } from '../../dist/ai-sdk/index.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { type Listening, serve } from '../../dist/server/listen.js';
import type { CompletionReply, KnnChoice } from '../../dist/server/wire.js';
import { MODEL, TestStore } from './support.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const apiKey = 'sesame';
const store = new TestStore();
let knnlm: KnnLM;
let chatty: KnnLM;
let listening: Listening;
let chatting: Listening;
let client: OpenAI;
let chatClient: OpenAI;

beforeAll(async () => {
  const folder = join(store.folder, 'chatty');
  cpSync(MODEL, folder, { recursive: true });
  const template = '{% for message in messages %}{{ message.content + " " }}{% endfor %}';
  writeFileSync(join(folder, 'chat_template.jinja'), template);
  [knnlm, chatty] = await Promise.all([store.open(), store.open(store.path, { model: folder })]);
  [listening, chatting] = await Promise.all([
    serve(knnlm, { port: 0, apiKey }),
    serve(chatty, { port: 0 }),
  ]);
  client = new OpenAI({ baseURL: `${listening.url}/v1`, apiKey, maxRetries: 0 });
  chatClient = new OpenAI({ baseURL: `${chatting.url}/v1`, apiKey: 'none', maxRetries: 0 });
});
afterAll(() => Promise.all([listening.close(), chatting.close()]));

const PROMPT = 'Once upon a time, there was';
const greedy = { model: 'stories260K', prompt: PROMPT, max_tokens: 6, temperature: 0 };

async function expected(prompt = PROMPT, maxTokens = 6): Promise<string> {
  let text = '';
  for await (const token of knnlm.generate(prompt, { maxTokens })) text += token.text;
  return text;
}

describe('OpenAI’s client', () => {
  it('lists the model, completes with log-probabilities, and passes knn both ways', async () => {
    const models = await client.models.list();
    expect(models.data.map(({ id }) => id)).toEqual(['stories260K']);
    expect(await client.models.retrieve('stories260K')).toEqual(models.data[0]);
    const knn = { include_neighbors: 1 };
    const reply = await client.completions.create({ ...greedy, logprobs: 2, ...{ knn } });
    const [choice] = reply.choices;
    expect(choice!.text).toBe(await expected());
    expect(choice!.logprobs!.token_logprobs).toHaveLength(6);
    const { tokens } = (choice as unknown as { knn: KnnChoice }).knn;
    expect(tokens[0]!.neighbors![0]!.document).toMatch(/story/);
    expect(Math.log(tokens[0]!.p)).toBe(choice!.logprobs!.token_logprobs![0]);
  });

  it('streams completions, with usage', async () => {
    const stream = await client.completions.create({
      ...greedy,
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = '';
    let usage: unknown;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? '';
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(await expected());
    expect(usage).toMatchObject({ completion_tokens: 6 });
  });

  it('chats, at once and in a stream', async () => {
    const messages = [{ role: 'user' as const, content: PROMPT }];
    const body = { model: 'chatty', messages, max_tokens: 6, temperature: 0, logprobs: true };
    const reply = await chatClient.chat.completions.create(body);
    const { content } = reply.choices[0]!.message;
    expect(content).toBe(await expected(`${PROMPT} `));
    const stream = chatClient.chat.completions.stream(body);
    expect((await stream.finalChatCompletion()).choices[0]!.message.content).toBe(content);
  });

  it('gets errors that it knows', async () => {
    const wrong = new OpenAI({ baseURL: `${listening.url}/v1`, apiKey: 'wrong', maxRetries: 0 });
    await expect(wrong.models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
    const other = client.completions.create({ ...greedy, model: 'gpt-4' });
    await expect(other).rejects.toBeInstanceOf(OpenAI.NotFoundError);
    const bad = client.completions.create({ ...greedy, temperature: -1 });
    await expect(bad).rejects.toMatchObject({ status: 400, param: 'temperature' });
    const chat = client.chat.completions.create({
      model: 'stories260K',
      messages: [{ role: 'user', content: 'a' }],
    });
    await expect(chat).rejects.toMatchObject({ status: 400, code: 'no_chat_template' });
  });

  it('stops a stream, and the server with it', async () => {
    const stream = await client.completions.create({
      ...greedy,
      max_tokens: 10_000,
      temperature: 1,
      stream: true,
    });
    for await (const _ of stream) break;
    const active = async () => {
      const headers = { authorization: `Bearer ${apiKey}` };
      const reply = await fetch(`${listening.url}/v1/knn/statistics`, { headers });
      return ((await reply.json()) as { requests: { active: number } }).requests.active;
    };
    while ((await active()) > 0) await new Promise((resolve) => setTimeout(resolve, 5));
  });
});

describe('the AI SDK', () => {
  it('talks to the server over HTTP', async () => {
    const provider = createOpenAICompatible({
      name: 'knnlm',
      baseURL: `${listening.url}/v1`,
      apiKey,
    });
    const completion = {
      model: provider.completionModel('stories260K'),
      maxOutputTokens: 6,
      temperature: 0,
    };
    // It puts "user:" and "assistant:" around what a completion model is asked.
    expect((await generateText({ ...completion, prompt: PROMPT })).finishReason).toBe('length');
    const chat = createOpenAICompatible({
      name: 'knnlm',
      baseURL: `${chatting.url}/v1`,
      includeUsage: true,
    });
    const stream = streamText({
      model: chat('chatty'),
      prompt: PROMPT,
      maxOutputTokens: 6,
      temperature: 0,
    });
    expect(await stream.text).toBe(await expected(`${PROMPT} `));
    expect(await stream.usage).toMatchObject({ outputTokens: 6 });
  });

  it('has the model in its own process, every token with its neighbors', async () => {
    const model = languageModel(knnlm, { neighbors: 2, around: 3 });
    const options = { model, prompt: PROMPT, maxOutputTokens: 6 };
    const whole = await generateText(options);
    expect(whole.text).toBe(await expected());
    expect(whole.usage).toMatchObject({ outputTokens: 6, inputTokens: 7 });
    const { tokens, settings } = whole.providerMetadata!.knnlm as unknown as {
      tokens: { p: number; neighbors: { document: string }[] }[];
      settings: object;
    };
    expect(tokens).toHaveLength(6);
    expect(tokens[0]!.neighbors).toHaveLength(2);
    expect(settings).toMatchObject({ k: 16, lambda: 0.4 });
    const stream = streamText(options);
    const deltas: object[] = [];
    for await (const part of stream.fullStream) {
      if (part.type === 'text-delta') deltas.push(part.providerMetadata!.knnlm!.token as object);
    }
    expect(deltas).toEqual(tokens);
    expect((await stream.providerMetadata)!.knnlm).toEqual(whole.providerMetadata!.knnlm);
  });

  it('takes settings of the memory with a call, and names documents that decided a token', async () => {
    const { id, text } = JSON.parse(
      readFileSync(`${root}/test/fixtures/golden/tinystories.train.jsonl`, 'utf8').split('\n')[1]!,
    );
    const options = {
      model: languageModel(knnlm),
      prompt: text.slice(0, 200),
      maxOutputTokens: 24,
    };
    const cited = await generateText({ ...options, providerOptions: { knnlm: { lambda: 0.9 } } });
    expect(cited.sources.map((source) => ('title' in source ? source.title : ''))).toContain(id);
    const alone = await generateText({ ...options, providerOptions: { knnlm: { lambda: 0 } } });
    expect(alone.sources).toEqual([]);
    const without = generateText({ ...options, providerOptions: { knnlm: { lambada: 0 } } });
    await expect(without).rejects.toThrow(/providerOptions\.knnlm: Unrecognized key: "lambada"/);
  });

  it('chats by the template, refuses turns to a model without one, and stops', async () => {
    const messages = [{ role: 'user' as const, content: PROMPT }];
    const options = { messages, maxOutputTokens: 6 };
    const chat = await generateText({ model: languageModel(chatty), ...options });
    expect(chat.text).toBe(await expected(`${PROMPT} `));
    const turns = generateText({ model: languageModel(knnlm), ...options, system: 'Be brief.' });
    await expect(turns).rejects.toThrow(/has no chat template.*system, user/);
    const abort = new AbortController();
    const stopped = generateText({
      model: languageModel(knnlm),
      prompt: PROMPT,
      maxOutputTokens: 10_000,
      temperature: 1,
      abortSignal: abort.signal,
    });
    // No story has ended by then.
    setTimeout(() => abort.abort(), 20);
    await expect(stopped).rejects.toMatchObject({ name: 'AbortError' });
  });
});

function run(command: string, parameters: string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, parameters, {
      cwd: root,
      env: { ...process.env, KNNLM_API_KEY: apiKey },
    });
    let output = '';
    let errors = '';
    child.stdout.on('data', (data) => (output += data));
    child.stderr.on('data', (data) => (errors += data));
    child.on('close', (code) => (code === 0 ? resolve(output) : reject(new Error(errors))));
    child.stdin.end(input);
  });
}

describe('the examples', () => {
  it('of OpenAI’s client prints tokens with their sources', async () => {
    const output = await run(process.execPath, [
      'examples/openai-client.js',
      `${listening.url}/v1`,
      PROMPT,
    ]);
    const lines = output.trim().split('\n');
    expect(lines).toHaveLength(24);
    for (const line of lines)
      expect(line).toMatch(/^"[^"]*" +\d\.\d{3} {2}\d\.\d{3} {2}\d\d\/story/);
  });

  it('of a chat with the AI SDK answers line by line and names its sources', async () => {
    const output = await run(
      process.execPath,
      ['examples/ai-sdk-chat.js', store.path],
      `${PROMPT}\nThe dog\n`,
    );
    expect(output).toContain(await expected(PROMPT, 64));
    expect(output.match(/^ {2}\[.+\]$/gm)).toHaveLength(2);
  });
});

describe('the README', () => {
  const examples = [...readFileSync(`${root}/README.md`, 'utf8').matchAll(/```sh\n(.*?)```/gs)]
    .flatMap(([, block]) => block!.trim().split('\n\n'))
    .filter((command) => command.startsWith('curl '));

  it('has commands that work as they stand', async () => {
    expect(examples.length).toBeGreaterThanOrEqual(3);
    for (const example of examples) {
      const command = example.replaceAll('http://localhost:8080', chatting.url);
      const output = await new Promise<string>((resolve, reject) =>
        execFile('bash', ['-c', `${command} -sS`], (error, stdout) =>
          error ? reject(error) : resolve(stdout),
        ),
      );
      const reply = JSON.parse(output);
      expect(reply.error, output).toBeUndefined();
      if (command.includes('/v1/completions')) {
        expect((reply as CompletionReply).choices[0]!.knn!.tokens).toHaveLength(8);
      }
    }
  });
});
