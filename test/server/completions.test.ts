/** /v1/completions against the library, to the last digit, and against OpenAI's rules. */
import { beforeAll, describe, expect, it } from 'vitest';
import type { GeneratedToken, GenerateRequest } from '../../dist/knnlm/generation-types.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import type { TokenScore } from '../../dist/knnlm/types.js';
import { type Asked, roughly, SETTINGS, stories, TestServer, TestStore } from './support.ts';

const store = new TestStore();
let knnlm: KnnLM;
let server: TestServer;

beforeAll(async () => {
  knnlm = await store.open();
  server = new TestServer(knnlm);
});

const PROMPT = 'Once upon a time, there was a';
const greedy = { prompt: PROMPT, max_tokens: 6, temperature: 0 };

async function generated(prompt: string | number[], request: GenerateRequest) {
  const tokens: GeneratedToken[] = [];
  for await (const token of knnlm.generate(prompt, request)) tokens.push(token);
  return tokens;
}

async function scored(text: string | number[], candidates = 0): Promise<TokenScore[]> {
  const scores: TokenScore[] = [];
  const request = { end: false, candidates, neighbors: 2 };
  for await (const piece of knnlm.scoreTokens(text, request)) scores.push(...piece);
  return scores;
}

const complete = async (body: object) => {
  const { status, body: reply } = await server.ask('/v1/completions', body);
  expect(reply.error, JSON.stringify(reply.error)).toBeUndefined();
  expect(status).toBe(200);
  return reply;
};

describe('a completion', () => {
  it('is what the library generates, with its log-probabilities', async () => {
    const tokens = await generated(PROMPT, { maxTokens: 6, candidates: 3, neighbors: 0 });
    const reply = await complete({ ...greedy, logprobs: 3 });
    const [choice] = reply.choices;
    expect(choice).toMatchObject({ index: 0, finish_reason: 'length' });
    expect(choice.text).toBe(tokens.map(({ text }) => text).join(''));
    expect(choice.logprobs.token_logprobs).toEqual(tokens.map(({ p }) => Math.log(p)));
    expect(choice.logprobs.top_logprobs.map((top: object) => Object.values(top))).toEqual(
      tokens.map(({ candidates }) => candidates!.map(({ p }) => Math.log(p))),
    );
    const { length } = knnlm.model.tokenizer.encode(PROMPT);
    expect(reply.usage).toEqual({
      prompt_tokens: length,
      completion_tokens: 6,
      total_tokens: length + 6,
    });
    expect(reply).toMatchObject({ object: 'text_completion', model: 'stories260K' });
    expect(reply.choices[0]).not.toHaveProperty('knn');
  });

  it('is the same from a text, from its token ids, and with the start token before them', async () => {
    const ids = Array.from(knnlm.model.tokenizer.encode(PROMPT));
    const { bos } = knnlm.model.tokenizer;
    const [text, plain, started] = await Promise.all(
      [PROMPT, ids, [bos, ...ids]].map((prompt) => complete({ ...greedy, prompt, logprobs: 1 })),
    );
    expect(plain.choices).toEqual(roughly(text.choices));
    expect(started.choices).toEqual(roughly(text.choices));
    expect(started.usage.prompt_tokens).toBe(ids.length + 1);
  });

  it('answers lists of prompts in their order, n choices each, numbered through', async () => {
    const prompts = [PROMPT, 'The dog', 'Lily and'];
    const alone = await Promise.all(prompts.map((prompt) => complete({ ...greedy, prompt, n: 2 })));
    const together = await complete({ ...greedy, prompt: prompts, n: 2 });
    expect(together.choices.map(({ text }: { text: string }) => text)).toEqual(
      alone.flatMap((one) => one.choices.map(({ text }: { text: string }) => text)),
    );
    expect(together.choices.map(({ index }: { index: number }) => index)).toEqual([
      0, 1, 2, 3, 4, 5,
    ]);
    expect(together.usage.completion_tokens).toBe(36);
    const ids = prompts.map((prompt) => Array.from(knnlm.model.tokenizer.encode(prompt)));
    const byIds = await complete({ ...greedy, prompt: ids, n: 2 });
    expect(byIds.choices).toEqual(together.choices);
  });

  it('draws other texts for other choices and the same for the same seed', async () => {
    const body = { prompt: PROMPT, max_tokens: 12, temperature: 1.5, seed: 7, n: 4 };
    const [first, again] = [await complete(body), await complete(body)];
    expect(again.choices).toEqual(first.choices);
    expect(new Set(first.choices.map(({ text }: { text: string }) => text)).size).toBe(4);
    const other = await complete({ ...body, seed: 8 });
    expect(other.choices).not.toEqual(first.choices);
  });

  it('tells of best_of choices the n most probable per token and counts all', async () => {
    const body = { prompt: PROMPT, max_tokens: 8, temperature: 1.5, seed: 3, logprobs: 0 };
    const all = await complete({ ...body, n: 6 });
    const mean = ({ logprobs: { token_logprobs: told } }: Asked['body']) =>
      told.reduce((sum: number, value: number) => sum + value, 0) / told.length;
    const ranked = [...all.choices].sort((a, b) => mean(b) - mean(a));
    const best = await complete({ ...body, n: 2, best_of: 6 });
    expect(best.choices.map(({ text }: { text: string }) => text)).toEqual(
      ranked.slice(0, 2).map(({ text }) => text),
    );
    expect(best.choices.map(({ index }: { index: number }) => index)).toEqual([0, 1]);
    expect(best.usage.completion_tokens).toBe(all.usage.completion_tokens);
  });

  it('stops before a stop text and tells every token that was generated', async () => {
    const whole = await complete({ ...greedy, max_tokens: 12 });
    const { text } = whole.choices[0];
    const stop = text.slice(6, 9);
    const reply = await complete({ ...greedy, max_tokens: 12, stop: [stop], logprobs: 0 });
    expect(reply.choices[0].text).toBe(text.slice(0, text.indexOf(stop)));
    expect(reply.choices[0].finish_reason).toBe('stop');
    expect(reply.choices[0].logprobs.tokens).toHaveLength(reply.usage.completion_tokens);
  });

  it('heeds bias and penalties as the library does', async () => {
    const [first] = await generated(PROMPT, { maxTokens: 1 });
    const body = {
      ...greedy,
      logit_bias: { [first!.id]: -100 },
      presence_penalty: 1,
      frequency_penalty: 0.5,
    };
    const tokens = await generated(PROMPT, {
      maxTokens: 6,
      logitBias: { [first!.id]: -100 },
      presencePenalty: 1,
      frequencyPenalty: 0.5,
    });
    expect(tokens[0]!.id).not.toBe(first!.id);
    expect((await complete(body)).choices[0].text).toBe(tokens.map(({ text }) => text).join(''));
  });
});

describe('the end of the text', () => {
  /** Forbids every token but the end. */
  const endAtOnce = () => {
    const { eos } = knnlm.model.tokenizer;
    return { logit_bias: { [eos]: 100 } };
  };

  it('is told as a token with its log-probability, and is no part of the text', async () => {
    const reply = await complete({ ...greedy, ...endAtOnce(), logprobs: 2, knn: {} });
    const [choice] = reply.choices;
    expect(choice).toMatchObject({ text: '', finish_reason: 'stop' });
    expect(choice.logprobs.tokens).toEqual(['</s>']);
    expect(choice.logprobs.token_logprobs[0]).toBe(Math.log(choice.knn.tokens[0].p));
    expect(choice.knn.tokens[0]).toMatchObject({
      id: knnlm.model.tokenizer.eos,
      text: '',
      end: true,
    });
    expect(reply.usage.completion_tokens).toBe(1);
  });

  it('leaves an echoed prompt with exactly one entry more, as lm-evaluation-harness counts', async () => {
    const ids = Array.from(knnlm.model.tokenizer.encode(PROMPT));
    const body = { prompt: ids, max_tokens: 1, temperature: 0, echo: true, logprobs: 1 };
    for (const more of [{}, endAtOnce()]) {
      const { choices } = await complete({ ...body, ...more });
      expect(choices[0].logprobs.token_logprobs).toHaveLength(ids.length + 1);
    }
  });
});

describe('an echo', () => {
  it('has the mixture’s log-probabilities of the prompt, the first being null', async () => {
    const scores = await scored(PROMPT, 1);
    const { choices } = await complete({ ...greedy, echo: true, logprobs: 1, max_tokens: 0 });
    const { text, logprobs, finish_reason } = choices[0];
    expect([text, finish_reason]).toEqual([PROMPT, 'length']);
    expect(logprobs.token_logprobs).toEqual([null, ...scores.slice(1).map(({ logP }) => logP)]);
    expect(logprobs.top_logprobs[0]).toBeNull();
    for (const [i, { id, candidates }] of scores.entries()) {
      if (i === 0) continue;
      const told = Object.values(logprobs.top_logprobs[i]) as number[];
      // The very same number, so that a comparison by equality says whether the token is the likeliest.
      expect(told).toContain(logprobs.token_logprobs[i]);
      expect(Math.max(...told) === logprobs.token_logprobs[i]).toBe(candidates![0]!.id === id);
    }
  });

  it('gives with one token more what a request without echo gives', async () => {
    const echo = await complete({ ...greedy, echo: true, logprobs: 2, max_tokens: 1 });
    const plain = await complete({ ...greedy, logprobs: 2, max_tokens: 1 });
    const last = (list: unknown[]) => list.at(-1);
    const [a, b] = [echo.choices[0].logprobs, plain.choices[0].logprobs];
    expect(last(a.token_logprobs)).toBeCloseTo(last(b.token_logprobs) as number, 6);
    expect(last(a.tokens)).toBe(last(b.tokens));
    expect(echo.choices[0].text).toBe(PROMPT + plain.choices[0].text);
  });

  it('reads a prompt that begins with the start token from there', async () => {
    const { bos } = knnlm.model.tokenizer;
    const ids = Array.from(knnlm.model.tokenizer.encode(PROMPT));
    const scores = await scored(ids);
    const body = { prompt: [bos, ...ids], echo: true, logprobs: 0, max_tokens: 0 };
    const { choices } = await complete(body);
    const { token_logprobs, tokens, top_logprobs } = choices[0].logprobs;
    expect(tokens[0]).toBe('<s>');
    expect(top_logprobs[0]).toBeNull();
    for (const [i, { logP }] of scores.entries())
      expect(token_logprobs[i + 1]).toBeCloseTo(logP, 5);
  });

  it('has offsets in characters, also where tokens are parts of them', async () => {
    const prompt = 'Tom 🦊 saw 日本 and é.';
    const { choices } = await complete({
      prompt,
      echo: true,
      logprobs: 0,
      max_tokens: 3,
      temperature: 0,
    });
    const { text, logprobs } = choices[0];
    expect(text.startsWith(prompt)).toBe(true);
    const characters = [...text];
    let seen = '';
    for (const [i, offset] of logprobs.text_offset.entries()) {
      expect(offset).toBe([...seen].length);
      seen += characters.slice(offset, logprobs.text_offset[i + 1] ?? characters.length).join('');
    }
    expect(seen).toBe(text);
    const ids = Array.from(knnlm.model.tokenizer.encode(prompt));
    const byIds = await complete({ prompt: ids, echo: true, logprobs: 0, max_tokens: 0 });
    expect(byIds.choices[0].text).toBe(prompt);
    expect(byIds.choices[0].logprobs.text_offset.at(-1)).toBe([...prompt].length - 1);
  });

  it('without log-probabilities is the prompt’s text', async () => {
    const { choices } = await complete({ ...greedy, echo: true, max_tokens: 0 });
    expect(choices[0]).toMatchObject({ text: PROMPT, logprobs: null });
  });
});

describe('the field knn', () => {
  it('tells p, p_LM and p_kNN of every token, with the neighbors that voted', async () => {
    const request = { maxTokens: 4, neighbors: 3, around: 5, candidates: 2 };
    const tokens = await generated(PROMPT, request);
    const knn = { include_neighbors: 3, around: 5 };
    const { choices } = await complete({ ...greedy, max_tokens: 4, logprobs: 2, knn });
    expect(choices[0].knn.settings).toEqual({ ...SETTINGS, gate: false });
    expect(choices[0].knn.tokens).toEqual(
      tokens.map(({ id, text, p, pLm, pKnn, candidates, neighbors }) => ({
        id,
        text,
        p,
        p_lm: pLm,
        p_knn: pKnn,
        candidates: candidates!.map((candidate) => ({
          id: candidate.id,
          text: candidate.text,
          p: candidate.p,
          p_lm: candidate.pLm,
          p_knn: candidate.pKnn,
        })),
        neighbors: neighbors.map(({ targetId, ...neighbor }) => ({
          ...neighbor,
          store: 'small.knn',
          target_id: targetId,
        })),
      })),
    );
  });

  it('changes the settings of the mixture', async () => {
    const settings = { lambda: 0, k: 3, temperature: 2 };
    const { choices } = await complete({ ...greedy, logprobs: 0, knn: settings });
    const tokens = await generated(PROMPT, { maxTokens: 6, knn: settings });
    expect(choices[0].knn.settings).toEqual({ ...settings, gate: false });
    expect(choices[0].knn.tokens.map(({ p }: { p: number }) => p)).toEqual(
      tokens.map(({ p }) => p),
    );
    for (const { p, p_lm } of choices[0].knn.tokens) expect(p).toBe(p_lm);
  });

  it('leaves documents out', async () => {
    const [{ id, text }] = stories('train') as [{ id: string; text: string }];
    const prompt = text.slice(0, 80);
    const documentsOf = async (knn: object) => {
      const { choices } = await complete({
        ...greedy,
        prompt,
        knn: { ...knn, include_neighbors: 16 },
      });
      return choices[0].knn.tokens.flatMap(({ neighbors }: Asked['body']) =>
        neighbors.map(({ document }: { document: string }) => document),
      );
    };
    expect(await documentsOf({})).toContain(id);
    expect(await documentsOf({ exclude_documents: [id] })).not.toContain(id);
  });

  it('tells of an echoed prompt too, with texts of its neighbors', async () => {
    const scores = await scored(PROMPT);
    const { choices } = await complete({
      ...greedy,
      echo: true,
      max_tokens: 1,
      knn: { include_neighbors: 2 },
    });
    const { tokens } = choices[0].knn;
    expect(
      tokens
        .slice(0, -1)
        .map(({ text }: { text: string }) => text)
        .join(''),
    ).toBe(PROMPT);
    for (const [i, { logP, neighbors }] of scores.entries()) {
      expect(tokens[i].p).toBeCloseTo(Math.exp(logP), 6);
      expect(tokens[i].prompt).toBe(true);
      expect(tokens[i].neighbors.map(({ entry }: { entry: number }) => entry)).toEqual(
        neighbors.map(({ entry }) => entry),
      );
      expect(tokens[i].neighbors[0].target).not.toBe('');
    }
    expect(tokens.at(-1)).not.toHaveProperty('prompt');
  });
});

describe('a stream', () => {
  it('says in parts what a whole reply says at once', async () => {
    const body = {
      ...greedy,
      prompt: [PROMPT, 'The dog'],
      echo: true,
      logprobs: 2,
      knn: { include_neighbors: 1 },
      n: 2,
    };
    const whole = await complete(body);
    const events = await server.events('/v1/completions', {
      ...body,
      stream_options: { include_usage: true },
    });
    const usage = events.pop();
    expect(usage).toMatchObject({ choices: [], usage: whole.usage });
    for (const event of events) expect(event.usage).toBeNull();
    for (const choice of whole.choices) {
      const parts = events
        .map(({ choices }) => choices[0])
        .filter(({ index }) => index === choice.index);
      expect(parts.map(({ text }) => text).join('')).toBe(choice.text);
      expect(parts.map(({ finish_reason }) => finish_reason).filter(Boolean)).toEqual(['length']);
      expect(parts.flatMap(({ knn }) => knn.tokens)).toEqual(roughly(choice.knn.tokens));
      expect(parts.filter(({ knn }) => knn.settings)).toHaveLength(1);
      for (const name of ['tokens', 'token_logprobs', 'top_logprobs', 'text_offset']) {
        expect(parts.flatMap(({ logprobs }) => logprobs?.[name] ?? [])).toEqual(
          roughly(choice.logprobs[name]),
        );
      }
    }
  });

  it('tells no usage unless asked, and of an unscored echo the text first', async () => {
    const events = await server.events('/v1/completions', { ...greedy, echo: true });
    expect(events[0].choices[0].text).toBe(PROMPT);
    for (const event of events) expect(event).not.toHaveProperty('usage');
    for (const event of events) expect(event.choices[0]).not.toHaveProperty('knn');
  });
});

describe('what cannot be', () => {
  it.each([
    [{ prompt: 7 }, 'prompt'],
    [{ prompt: [] }, 'prompt'],
    [{ prompt: ['a', 5] }, 'prompt'],
    [{ prompt: [-1] }, 'prompt.0'],
    [{ prompt: 'a', temperature: -1 }, 'temperature'],
    [{ prompt: 'a', best_of: 1, n: 2 }, 'best_of'],
    [{ prompt: 'a', best_of: 2, stream: true }, 'best_of'],
    [{ prompt: 'a', suffix: 'b' }, 'suffix'],
    [{ prompt: 'a', logit_bias: { x: 1 } }, 'logit_bias.x'],
    [{ prompt: 'a', logit_bias: { 512: 1 } }, 'logit_bias'],
    [{ prompt: 'a', max_tokens: 100_000 }, 'max_tokens'],
    [{ prompt: 'a', knn: { lambada: 1 } }, 'knn'],
    [{ prompt: 'a', knn: { k: 0 } }, 'knn.k'],
    [{ prompt: Array(200).fill('a'), n: 2 }, 'n'],
  ])('is refused with the field and the value: %#', async (body, param) => {
    const { status, body: reply } = await server.ask('/v1/completions', body);
    expect(status).toBe(400);
    expect(reply.error).toMatchObject({ type: 'invalid_request_error', param });
  });

  it.each([
    [{ prompt: [512] }, /from 0 to 511, but one is 512/],
    [{ prompt: 'a', knn: { stores: ['other'] } }, /called "other".*small\.knn/],
    [{ prompt: 'a', knn: { exclude_documents: ['x'] } }, /no document "x"/],
    [{ prompt: 'a', knn: { gate: true } }, /no gate/],
    [{ prompt: 'x'.repeat(600_000) }, /over 32768 tokens/],
    [{ prompt: Array(40_000).fill(3) }, /40000 tokens/],
  ])('is refused with the reason: %#', async (body, message) => {
    const { status, body: reply } = await server.ask('/v1/completions', body);
    expect([status, reply.error.message]).toEqual([400, expect.stringMatching(message)]);
  });

  it('names the model that is served when another is asked for', async () => {
    const { status, body } = await server.ask('/v1/completions', { prompt: 'a', model: 'gpt-4' });
    expect([status, body.error.code]).toEqual([404, 'model_not_found']);
    expect(body.error.message).toContain('stories260K');
  });

  it('leaves a server that goes on, with nothing for its log', async () => {
    expect((await complete(greedy)).choices).toHaveLength(1);
    expect(server.errors).toEqual([]);
  });
});
