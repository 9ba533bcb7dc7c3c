/** An open `KnnLM` as a language model of the AI SDK, in this process: no server, no port. */
import type {
  JSONObject,
  LanguageModelV3,
  LanguageModelV3CallOptions,
  LanguageModelV3Content,
  LanguageModelV3FinishReason,
  LanguageModelV3GenerateResult,
  LanguageModelV3StreamPart,
  LanguageModelV3StreamResult,
  LanguageModelV3Usage,
  SharedV3Warning,
} from '@ai-sdk/provider';
import type { GeneratedToken, Generation } from '../knnlm/generation-types.ts';
import type { KnnLM } from '../knnlm/knnlm.ts';
import { modelName } from '../model/resolve-model.ts';
import { type KnnLMOptions, memoryOf, readOptions } from './options.ts';
import { readPrompt } from './prompt.ts';
import { type DocumentSource, SourceFinder } from './sources.ts';

const DEFAULT_MAX_TOKENS = 256;
/** The one part that a text has. */
const TEXT_ID = 'text';

/**
 * The model with its memory, for `generateText` and `streamText`. Every token with its probabilities and neighbors is in
 * `providerMetadata.knnlm`, documents that a token would not be there without are its sources. The `KnnLM` stays open.
 * @param defaults what `providerOptions.knnlm` of a call does not say
 * Errors of calls: `INVALID_ARGUMENT` for messages that are no text, or turns with a model without a chat template.
 */
export function languageModel(knnlm: KnnLM, defaults: KnnLMOptions = {}): LanguageModelV3 {
  const own = readOptions(defaults);
  return new KnnLanguageModel(knnlm, own);
}

class KnnLanguageModel implements LanguageModelV3 {
  readonly specificationVersion = 'v3';
  readonly provider = 'knnlm';
  readonly modelId: string;
  readonly supportedUrls = {};
  readonly #knnlm: KnnLM;
  readonly #defaults: KnnLMOptions;

  constructor(knnlm: KnnLM, defaults: KnnLMOptions) {
    this.#knnlm = knnlm;
    this.#defaults = defaults;
    this.modelId = modelName(knnlm.model.info);
  }

  async doGenerate(options: LanguageModelV3CallOptions): Promise<LanguageModelV3GenerateResult> {
    const { tokens, prompt } = await this.#start(options);
    const finder = new SourceFinder(this.#knnlm);
    const sources: DocumentSource[] = [];
    const generation = await finished(
      tokens,
      (token) => sources.push(...finder.of(token)),
      options,
    );
    const content: LanguageModelV3Content[] = [{ type: 'text', text: generation.text }];
    return {
      content: [...content, ...sources],
      finishReason: reasonOf(generation),
      usage: usageOf(prompt, generation),
      providerMetadata: { knnlm: metadataOf(generation) },
      response: { modelId: this.modelId, timestamp: new Date() },
      warnings: warningsOf(options),
    };
  }

  async doStream(options: LanguageModelV3CallOptions): Promise<LanguageModelV3StreamResult> {
    const { tokens, prompt } = await this.#start(options);
    const parts = this.#parts(tokens, prompt, options);
    return {
      stream: new ReadableStream<LanguageModelV3StreamPart>({
        async pull(controller) {
          const { done, value } = await parts.next();
          if (done) controller.close();
          else controller.enqueue(value);
        },
        async cancel() {
          await parts.return(undefined);
        },
      }),
    };
  }

  async *#parts(
    tokens: Tokens,
    prompt: number,
    options: LanguageModelV3CallOptions,
  ): AsyncGenerator<LanguageModelV3StreamPart> {
    yield { type: 'stream-start', warnings: warningsOf(options) };
    yield { type: 'response-metadata', modelId: this.modelId, timestamp: new Date() };
    yield { type: 'text-start', id: TEXT_ID };
    const finder = new SourceFinder(this.#knnlm);
    try {
      let step = await nextOf(tokens, options);
      for (; !step.done; step = await nextOf(tokens, options)) {
        const { text: delta } = step.value;
        const providerMetadata = { knnlm: { token: jsonOf(step.value) } };
        yield { type: 'text-delta', id: TEXT_ID, delta, providerMetadata };
        yield* finder.of(step.value);
      }
      yield { type: 'text-end', id: TEXT_ID };
      yield {
        type: 'finish',
        finishReason: reasonOf(step.value),
        usage: usageOf(prompt, step.value),
        providerMetadata: { knnlm: metadataOf(step.value) },
      };
    } finally {
      await tokens.return(undefined as never);
    }
  }

  async #start(options: LanguageModelV3CallOptions): Promise<{ tokens: Tokens; prompt: number }> {
    const { providerOptions, abortSignal } = options;
    abortSignal?.throwIfAborted();
    const own = { ...this.#defaults, ...readOptions(providerOptions?.knnlm) };
    const ids = await readPrompt(options.prompt, this.#knnlm.model);
    const tokens = this.#knnlm.generate(Array.from(ids), {
      ...memoryOf(own),
      maxTokens: options.maxOutputTokens ?? DEFAULT_MAX_TOKENS,
      temperature: options.temperature,
      topK: options.topK,
      topP: options.topP,
      presencePenalty: options.presencePenalty,
      frequencyPenalty: options.frequencyPenalty,
      stop: options.stopSequences,
      seed: options.seed,
      signal: abortSignal,
    });
    return { tokens, prompt: ids.length };
  }
}

type Tokens = AsyncGenerator<GeneratedToken, Generation>;

/** An abort ends with its own reason, as the AI SDK expects. */
async function nextOf(
  tokens: Tokens,
  { abortSignal }: LanguageModelV3CallOptions,
): Promise<IteratorResult<GeneratedToken, Generation>> {
  try {
    return await tokens.next();
  } catch (error) {
    abortSignal?.throwIfAborted();
    throw error;
  }
}

async function finished(
  tokens: Tokens,
  onToken: (token: GeneratedToken) => void,
  options: LanguageModelV3CallOptions,
): Promise<Generation> {
  for (;;) {
    const step = await nextOf(tokens, options);
    if (step.done) return step.value;
    onToken(step.value);
  }
}

function reasonOf({ finishReason }: Generation): LanguageModelV3FinishReason {
  return { unified: finishReason, raw: finishReason };
}

function usageOf(prompt: number, { tokens }: Generation): LanguageModelV3Usage {
  const nothing = { cacheRead: undefined, cacheWrite: undefined };
  return {
    inputTokens: { total: prompt, noCache: prompt, ...nothing },
    outputTokens: { total: tokens.length, text: tokens.length, reasoning: undefined },
  };
}

function metadataOf({ settings, tokens }: Generation): JSONObject {
  return { settings: jsonOf(settings), tokens: tokens.map(jsonOf) };
}

/** Plain data under the library's own names; what is undefined is left out. */
const jsonOf = (value: object): JSONObject => JSON.parse(JSON.stringify(value));

/** What was asked for and is not done. */
function warningsOf({ tools, responseFormat }: LanguageModelV3CallOptions): SharedV3Warning[] {
  const warnings: SharedV3Warning[] = [];
  if (tools && tools.length > 0) warnings.push({ type: 'unsupported', feature: 'tools' });
  if (responseFormat?.type === 'json') {
    warnings.push({
      type: 'unsupported',
      feature: 'responseFormat',
      details: 'Only text is written.',
    });
  }
  return warnings;
}
