/** Generation from the mixture, token by token, each with the stored contexts that voted for it. */
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import type { Tokenizer } from '../model/tokenizer.ts';
import { citeEntries, type EntryHit } from './cite.ts';
import type { GeneratedToken, GenerateRequest, Generation } from './generation-types.ts';
import { MemoryFailures } from './index-failure.ts';
import { SequenceReader } from './reader.ts';
import type { RetrievedRow, Retriever } from './retriever.ts';
import { largest, Sampler } from './sampler.ts';
import { StopStrings } from './stop-strings.ts';
import { type Prediction, TextMemory } from './text-memory.ts';
import type { Candidate, ResolvedSettings } from './types.ts';
import { usedSettings } from './used-settings.ts';
import type { WindowPlan } from './windows.ts';

export interface GenerateOptions
  extends Omit<GenerateRequest, 'knn' | 'excludeDocuments'>,
    WindowPlan {
  settings: ResolvedSettings;
  exclude?: readonly IdRange[];
}

/**
 * Yields each token as soon as it is chosen and returns the whole at the end.
 * An end-of-text token stops it and is not part of the text; with `end` it is told last. Errors: `INVALID_ARGUMENT`, `ABORTED`.
 */
export async function* generate(
  prompt: string | readonly number[],
  model: LanguageModel,
  retriever: Retriever,
  options: GenerateOptions,
): AsyncGenerator<GeneratedToken, Generation> {
  const maxTokens = options.maxTokens ?? 64;
  if (!Number.isInteger(maxTokens) || maxTokens < 0) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The number of tokens must be 0 or more, not ${maxTokens}.`,
    );
  }
  const sampler = new Sampler(options);
  const stops = new StopStrings(options.stop);
  const promptIds = await promptTokens(prompt, model);
  const stream = model.tokenizer.stream({ continuing: promptIds.length > 0 });
  const seen = new Set<number>(promptIds);
  // A state is done with before the next but one is asked for, and with the reader.
  const reader = await SequenceReader.open(model, options, { reuse: true });
  const memory = await begin().catch(async (error: unknown) => {
    await reader.close();
    throw error;
  });
  const told = { tokens: [] as GeneratedToken[], text: '' };
  let count = 0;
  let last: GeneratedToken | undefined;
  const failures = new MemoryFailures();
  let ended: GeneratedToken | undefined;
  let finishReason: Generation['finishReason'] = 'length';
  try {
    while (count < maxTokens) {
      if (options.signal?.aborted) throw new KnnLMError('ABORTED', 'The generation was stopped.');
      const prediction = await memory.predict(reader.next);
      const id = sampler.next(prediction.logProbs, seen);
      if (model.info.stopTokens.includes(id)) {
        finishReason = 'stop';
        if (options.end) ended = { ...(await describeToken(id, '', prediction)), end: true };
        break;
      }
      const text = stops.push(stream.push(id));
      // The model reads on while the token before is told.
      const isLast = stops.found || count + 1 === maxTokens;
      const reading = isLast ? undefined : reader.read([id]);
      // Whoever stops listening while it reads does not hear of it.
      reading?.catch(() => {});
      memory.observe(id);
      // A token is told one step late: only then is it certain that no held-back text belongs to it.
      if (last) yield keep(last);
      last = await describeToken(id, text, prediction);
      count++;
      if (prediction.failed !== undefined) failures.add(1, prediction.failed);
      if (stops.found) {
        finishReason = 'stop';
        break;
      }
      seen.add(id);
      await reading;
    }
  } finally {
    memory.close();
    await reader.close();
  }
  if (last) {
    last.text += stops.push(stream.end()) + stops.end();
    yield keep(last);
  }
  if (ended) yield keep(ended);
  return {
    ...told,
    finishReason,
    settings: usedSettings(options.settings),
    searched: memory.searched,
    ...failures.result,
  };

  /** The prompt is read once, for its last state and for what a cache remembers of it. */
  async function begin(): Promise<TextMemory> {
    const inputs = [model.tokenizer.bos, ...promptIds];
    const keys = maxTokens > 0 ? await reader.readBeginning(inputs) : undefined;
    return TextMemory.open(promptIds, { model, retriever, keys }, options);
  }

  /** For the whole at the end. */
  function keep(token: GeneratedToken): GeneratedToken {
    told.text += token.text;
    if (options.keepTokens ?? true) told.tokens.push(token);
    return token;
  }

  async function describeToken(
    id: number,
    text: string,
    { logProbs, lm, votes, voters, weights, failed }: Prediction,
  ): Promise<GeneratedToken> {
    const hits = supporters(id, voters, weights, options.neighbors ?? 4);
    return {
      id,
      text,
      p: Math.exp(logProbs[id]!),
      pLm: Math.exp(lm[id]!),
      pKnn: Math.exp(votes.of(id)),
      neighbors: await citeEntries(hits, {
        datastore: retriever.datastore,
        tokenizer: model.tokenizer,
        around: options.around ?? 16,
      }),
      ...(options.candidates && {
        candidates: candidatesOf({ logProbs, lm, votes }, options.candidates, model.tokenizer),
      }),
      ...(failed !== undefined && { withoutMemory: true as const }),
    };
  }
}

/** Ids are those of the text, without the token before every document. Errors: `INVALID_ARGUMENT` for what is no token. */
export async function promptTokens(
  prompt: string | readonly number[],
  model: LanguageModel,
): Promise<ArrayLike<number> & Iterable<number>> {
  if (typeof prompt === 'string') return (await model.encodeDocuments([prompt]))[0]!;
  const { vocabSize } = model.info;
  const bad = prompt.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize));
  if (bad === undefined) return prompt;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `Token ids must be whole numbers from 0 to ${vocabSize - 1}, but one is ${bad}.`,
  );
}

/** The most probable next tokens under the mixture. */
export function candidatesOf(
  { logProbs, lm, votes }: Pick<Prediction, 'logProbs' | 'lm' | 'votes'>,
  count: number,
  tokenizer: Tokenizer,
): Candidate[] {
  return largest(logProbs, count).map((id) => ({
    id,
    text: tokenizer.tokenText(id),
    p: Math.exp(logProbs[id]!),
    pLm: Math.exp(lm[id]!),
    pKnn: Math.exp(votes.of(id)),
  }));
}

/** The nearest neighbors that voted for the token; when fewer than wanted did, the nearest others join. Nearest first. */
export function supporters(
  token: number,
  { ids, distances, values }: RetrievedRow,
  weights: Float64Array,
  wanted: number,
): (Required<EntryHit> & { agrees: boolean })[] {
  const chosen: number[] = [];
  for (const isAgreeing of [true, false]) {
    for (let i = 0; i < weights.length && chosen.length < wanted; i++) {
      if (ids[i]! >= 0 && (values[i] === token) === isAgreeing) chosen.push(i);
    }
  }
  return chosen
    .sort((a, b) => distances[a]! - distances[b]!)
    .map((i) => ({
      entry: ids[i]!,
      distance: distances[i]!,
      weight: weights[i]!,
      targetId: values[i]!,
      agrees: values[i] === token,
    }));
}
