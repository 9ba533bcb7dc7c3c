/** Documents behind a text, as the AI SDK's sources: each named once, with the first token that it decided. */
import type { LanguageModelV3Source } from '@ai-sdk/provider';
import type { GeneratedToken } from '../knnlm/generation-types.ts';
import type { KnnLM } from '../knnlm/knnlm.ts';

export type DocumentSource = Extract<LanguageModelV3Source, { sourceType: 'document' }>;

/** The memory decided a token when it made it this many times as probable as the model alone held it. */
const DECIDED = 2;

export class SourceFinder {
  readonly #knnlm: KnnLM;
  readonly #told = new Set<string>();

  constructor(knnlm: KnnLM) {
    this.#knnlm = knnlm;
  }

  /** The nearest document that voted for a token which the memory decided, unless it was told before. */
  of({ id, p, pLm, neighbors }: GeneratedToken): DocumentSource[] {
    if (p < DECIDED * pLm) return [];
    const neighbor = neighbors.find(({ targetId }) => targetId === id);
    if (!neighbor) return [];
    const { document, position, store = this.#knnlm.stores[0]!.name } = neighbor;
    const key = JSON.stringify([store, document]);
    if (this.#told.has(key)) return [];
    this.#told.add(key);
    return [
      {
        type: 'source',
        sourceType: 'document',
        id: key,
        mediaType: 'text/plain',
        title: document,
        providerMetadata: { knnlm: { store, document, position } },
      },
    ];
  }
}
