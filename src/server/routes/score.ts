/** POST /v1/knn/score: a text token by token under the model and under the mixture. */
import { countWords, textScore } from '../../knnlm/summarize.ts';
import type { TokenScore } from '../../knnlm/types.ts';
import type { Call } from '../call.ts';
import { type Prompt, readPrompt } from '../completions/prompt.ts';
import { retrievalOf, toldSettings } from '../completions/sampling.ts';
import { giftsOf } from '../contributions.ts';
import { Events } from '../event-stream.ts';
import { defineRoute } from '../route.ts';
import { scoreEvent, scoreReply, scoreRequest } from '../schemas/score.ts';
import type { ScoredToken, ScoreEvent, ScoreReply, ScoreRequest, ScoreSummary } from '../wire.ts';

const DEFAULT_NEIGHBORS = 1;
/** Tokens of a text at most: it is told token by token. */
const MOST_TOKENS = 2 ** 20;

export const score = defineRoute({
  method: 'post',
  path: '/v1/knn/score',
  id: 'score',
  tag: 'Memory',
  summary: 'A text under the model and under the mixture, as `knnlm eval` scores a document.',
  body: scoreRequest,
  reply: scoreReply,
  event: scoreEvent,
  readsStores: true,
  async handle({ body }, call) {
    const events = scoreText(body, call);
    return body.stream ? new Events(events) : await wholeScore(events);
  },
});

async function wholeScore(events: AsyncIterable<ScoreEvent>): Promise<ScoreReply> {
  const scored: ScoredToken[] = [];
  let summary: ScoreSummary | undefined;
  for await (const event of events) {
    if (event.type === 'tokens') scored.push(...event.scored);
    else if (event.type === 'summary') {
      const { type: _, ...rest } = event;
      summary = rest;
    }
  }
  return { ...summary!, scored };
}

async function* scoreText(body: ScoreRequest, call: Call): AsyncGenerator<ScoreEvent> {
  const { knnlm, metrics } = call.service;
  const text = await readPrompt(body.text, knnlm.model, MOST_TOKENS);
  const request = retrievalOf(body);
  const scores = knnlm.scoreTokens(text.ids, {
    ...request,
    end: true,
    neighbors: body.neighbors ?? DEFAULT_NEIGHBORS,
    excludeDocuments: body.exclude_documents,
    signal: call.signal,
  });
  const settings = toldSettings(knnlm.settings(request));
  const release = await call.slot();
  const started = performance.now();
  const sums = new Sums();
  try {
    yield { type: 'start', tokens: text.ids.length + 1, settings };
    let from = 0;
    for await (const piece of scores) {
      metrics.count('scored', piece.length);
      for (const token of piece) sums.add(token);
      const scored = piece.map((token, i) => toldScore(token, text, from + i, call));
      yield { type: 'tokens', from, scored };
      from += piece.length;
    }
    const seconds = (performance.now() - started) / 1000;
    yield { type: 'summary', ...sums.of(body.text), settings, seconds };
  } finally {
    release();
    await scores.return(undefined);
  }
}

function toldScore(
  { id, logP, logPLm, logPKnn, neighbors }: TokenScore,
  { pieces }: Prompt,
  at: number,
  { service: { contributions, knnlm } }: Call,
): ScoredToken {
  const { name } = knnlm.stores[0]!;
  const told = neighbors.map(({ store = name, document, position, distance, weight, agrees }) => ({
    store,
    document,
    position,
    distance,
    weight,
    agrees,
  }));
  const probabilities = { p: Math.exp(logP), pLm: Math.exp(logPLm), pKnn: Math.exp(logPKnn) };
  contributions.add(giftsOf(probabilities, told));
  return {
    id,
    // The end of the text is the one token more.
    text: pieces[at] ?? '',
    log_p: finite(logP),
    log_p_lm: logPLm,
    log_p_knn: finite(logPKnn),
    neighbors: told,
  };
}

const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

class Sums {
  #tokens = 0;
  #lm = 0;
  #knnlm = 0;
  #helped = 0;
  #hurt = 0;

  add({ logP, logPLm }: TokenScore): void {
    this.#tokens++;
    this.#lm -= logPLm;
    this.#knnlm -= logP;
    if (logP > logPLm) this.#helped++;
    else if (logP < logPLm) this.#hurt++;
  }

  of(text: string): Omit<ScoreSummary, 'settings' | 'seconds'> {
    const sizes = {
      tokens: this.#tokens,
      bytes: Buffer.byteLength(text),
      words: countWords(text),
    };
    const told = (nll: number) => {
      const { perplexity, wordPerplexity, bitsPerByte } = textScore(nll, sizes);
      return {
        nll: finite(nll),
        perplexity: finite(perplexity),
        word_perplexity: finite(wordPerplexity),
        bits_per_byte: finite(bitsPerByte),
      };
    };
    return {
      ...sizes,
      lm: told(this.#lm),
      knnlm: told(this.#knnlm),
      helped: this.#helped / this.#tokens,
      hurt: this.#hurt / this.#tokens,
    };
  }
}
