/** /v1/chat/completions with a model that has a chat template, and the tokenizer's routes. */
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import type { GeneratedToken, GenerateRequest } from '../../dist/knnlm/generation-types.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { type Asked, MODEL, roughly, SETTINGS, TestServer, TestStore } from './support.ts';

const TEMPLATE =
  "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}{{ message.content + ' ' }}" +
  "{% elif message.role == 'system' %}{{ message.content + '\n' }}{% else %}{{ message.content + eos_token }}{% endif %}{% endfor %}";

const store = new TestStore();
let knnlm: KnnLM;
let server: TestServer;
let plain: TestServer;

beforeAll(async () => {
  // The same model, but for a template.
  const folder = join(store.folder, 'chatty');
  cpSync(MODEL, folder, { recursive: true });
  const path = join(folder, 'tokenizer_config.json');
  const config = JSON.parse(readFileSync(path, 'utf8'));
  writeFileSync(path, JSON.stringify({ ...config, chat_template: TEMPLATE }));
  knnlm = await store.open(store.path, { model: folder });
  server = new TestServer(knnlm);
  plain = new TestServer(await store.open());
});

const messages = [
  { role: 'system', content: 'Once upon a time' },
  {
    role: 'user',
    content: [
      { type: 'text', text: 'there was ' },
      { type: 'text', text: 'a girl' },
    ],
  },
];
const greedy = { messages, max_tokens: 6, temperature: 0 };

const chat = async (body: object) => {
  const { status, body: reply } = await server.ask('/v1/chat/completions', body);
  expect(reply.error, JSON.stringify(reply.error)).toBeUndefined();
  expect(status).toBe(200);
  return reply;
};

async function generated(request: GenerateRequest): Promise<GeneratedToken[]> {
  const prompt = Array.from(
    await knnlm.model.encodeChat([
      { role: 'system', content: 'Once upon a time' },
      { role: 'user', content: 'there was a girl' },
    ]),
  );
  expect(prompt[0]).not.toBe(knnlm.model.tokenizer.bos);
  const tokens: GeneratedToken[] = [];
  for await (const token of knnlm.generate(prompt, request)) tokens.push(token);
  return tokens;
}

describe('a chat', () => {
  it('goes on where the template leaves off, with the library’s log-probabilities', async () => {
    const tokens = await generated({ maxTokens: 6, candidates: 2, neighbors: 2 });
    const body = { ...greedy, logprobs: true, top_logprobs: 2, knn: { include_neighbors: 2 } };
    const reply = await chat(body);
    const [choice] = reply.choices;
    expect(choice.message).toEqual({
      role: 'assistant',
      content: tokens.map(({ text }) => text).join(''),
      refusal: null,
    });
    expect(choice.finish_reason).toBe('length');
    const { content } = choice.logprobs;
    expect(content.map(({ logprob }: Asked['body']) => logprob)).toEqual(
      tokens.map(({ p }) => Math.log(p)),
    );
    for (const [i, { top_logprobs, token, bytes }] of content.entries()) {
      expect(top_logprobs).toHaveLength(2);
      expect(top_logprobs[0].logprob).toBe(Math.log(tokens[i]!.candidates![0]!.p));
      expect(Buffer.from(bytes).toString()).toBe(token);
    }
    expect(choice.knn.settings).toEqual({ ...SETTINGS, gate: false });
    expect(choice.knn.tokens.map(({ p }: Asked['body']) => p)).toEqual(tokens.map(({ p }) => p));
    expect(reply.usage.completion_tokens).toBe(6);
  });

  it.each([1, 2])('says in a stream what it says at once: %i choices', async (n) => {
    const body = { ...greedy, n, logprobs: true, knn: {} };
    const whole = await chat(body);
    const asked = { ...body, stream_options: { include_usage: true } };
    const events = await server.events('/v1/chat/completions', asked);
    expect(events.pop()).toMatchObject({ choices: [], usage: whole.usage });
    for (const { index, message, logprobs, knn } of whole.choices) {
      const parts = events
        .map(({ choices }) => choices[0])
        .filter((choice) => choice.index === index);
      expect(parts[0].delta).toEqual({ role: 'assistant', content: '' });
      expect(parts.map(({ delta }) => delta.content ?? '').join('')).toBe(message.content);
      // Two choices share steps, in either request as it happens; one is the same to the bit.
      const expected = n === 1 ? (value: unknown) => value : roughly;
      const of = (name: 'logprobs' | 'knn', key: string): unknown[] =>
        parts.flatMap((part) => part[name]?.[key] ?? []);
      expect(of('logprobs', 'content')).toEqual(expected(logprobs.content));
      expect(of('knn', 'tokens')).toEqual(expected(knn.tokens));
      expect(parts.at(-1)).toMatchObject({ delta: {}, finish_reason: 'length' });
    }
  });

  it('takes max_completion_tokens, and a developer for a system', async () => {
    const renamed = [{ role: 'developer', content: 'Once upon a time' }, messages[1]];
    const { max_tokens, ...rest } = greedy;
    const reply = await chat({ ...rest, messages: renamed, max_completion_tokens: max_tokens });
    expect(reply.choices[0].message).toEqual((await chat(greedy)).choices[0].message);
  });

  it('does not end a turn because a message says so', async () => {
    const { eos } = knnlm.model.tokenizer;
    const ids = await knnlm.model.encodeChat([{ role: 'user', content: 'a</s>b' }]);
    expect(Array.from(ids)).not.toContain(eos);
    const said = await knnlm.model.encodeChat([{ role: 'assistant', content: 'a' }]);
    expect(said.at(-1)).toBe(eos);
  });

  it.each([
    [{ messages: [] }, 'messages'],
    [{ messages: [{ role: 'robot', content: 'a' }] }, 'messages.0.role'],
    [{ ...greedy, tools: [{ type: 'function' }] }, 'tools'],
    [{ ...greedy, response_format: { type: 'json_object' } }, 'response_format.type'],
    [{ ...greedy, top_logprobs: 2 }, 'top_logprobs'],
  ])('is refused with the field: %#', async (body, param) => {
    const { status, body: reply } = await server.ask('/v1/chat/completions', body);
    expect([status, reply.error.param]).toEqual([400, param]);
  });

  it('is refused by a model without a template, which says what to use instead', async () => {
    const { status, body } = await plain.ask('/v1/chat/completions', greedy);
    expect([status, body.error.code]).toEqual([400, 'no_chat_template']);
    expect(body.error.message).toContain('/v1/completions');
    expect((await plain.ask('/v1/knn/info')).body.model.chat).toBe(false);
    expect((await server.ask('/v1/knn/info')).body.model.chat).toBe(true);
  });
});

describe('the tokenizer', () => {
  it('tells its special tokens and the template', async () => {
    const { body } = await server.ask('/tokenizer_info');
    expect(body).toMatchObject({ bos_token: '<s>', eos_token: '</s>', chat_template: TEMPLATE });
    expect((await plain.ask('/tokenizer_info')).body.chat_template).toBeNull();
  });

  it('encodes as a completion reads, and decodes to the same text', async () => {
    const prompt = 'Once upon a time 🦊, </s> and <s>.';
    const ids = Array.from(knnlm.model.tokenizer.encode(prompt));
    const { body } = await server.ask('/tokenize', { prompt });
    expect(body).toEqual({ tokens: ids, count: ids.length });
    expect((await server.ask('/detokenize', { tokens: ids })).body).toEqual({ prompt });
    const started = await server.ask('/tokenize', { prompt, add_special_tokens: true });
    expect(started.body.tokens).toEqual([knnlm.model.tokenizer.bos, ...ids]);
  });

  it('knows a special token by its name alone, which is how lm-evaluation-harness asks for it', async () => {
    const { bos, eos } = knnlm.model.tokenizer;
    for (const [prompt, id] of [
      ['<s>', bos],
      ['</s>', eos],
    ] as const) {
      expect((await server.ask('/tokenize', { prompt })).body.tokens).toEqual([id]);
    }
  });

  it('refuses ids that are none', async () => {
    expect((await server.ask('/detokenize', { tokens: [512] })).status).toBe(400);
  });
});
