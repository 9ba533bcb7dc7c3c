/** One prediction with everything that was retrieved for it, so that it can be explained, or mixed again elsewhere. */
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { citeEntries } from './cite.ts';
import { Gate } from './gate.ts';
import { promptTokens } from './generate.ts';
import { searchedRow } from './pointers.ts';
import { SequenceReader } from './reader.ts';
import type { Retriever } from './retriever.ts';
import { type Prediction, TextMemory } from './text-memory.ts';
import type { InspectRequest, Neighbor, ResolvedSettings } from './types.ts';
import type { WindowPlan } from './windows.ts';

export interface InspectOptions
  extends WindowPlan,
    Pick<InspectRequest, 'show' | 'around' | 'signal'> {
  settings: ResolvedSettings;
  exclude?: readonly IdRange[];
}

/** Shapes: k neighbors, nearest first, padding left out. */
export interface Inspection {
  /** The context as it was read, without BOS. */
  tokens: Int32Array;
  prediction: Prediction;
  /** (k) */
  places: { entry: number; store?: string; document: string; position: number }[];
  /** (k) squared L2 */
  distances: Float32Array;
  /** (k) token ids that followed */
  targets: Uint32Array;
  /** The nearest with their text, as many as were to be shown. */
  neighbors: Neighbor[];
  /** A gate's mixture for this query: the model's share, and one for p_kNN at each temperature. */
  gate?: { lm: number; temperatures: number[]; weights: number[] };
  /** Settings as they were used here, */
  settings: ResolvedSettings;
  /** and what these settings use beside the store wherever a text is read, which is left out here. */
  leftOut: LeftOut[];
  milliseconds: { model: number; search: number };
}

export type LeftOut = 'cache' | 'pointers' | 'adaptive';

function leftOutOf({ cache, pointers, skip }: ResolvedSettings): LeftOut[] {
  return [
    ...(cache ? ['cache' as const] : []),
    ...(pointers ? ['pointers' as const] : []),
    ...(skip ? ['adaptive' as const] : []),
  ];
}

/** What the text itself remembers is left out: the store is what is looked at. */
function storeAlone({
  k,
  lambda,
  temperature,
  gate,
  effort,
  stores,
  lambdas,
}: ResolvedSettings): ResolvedSettings {
  return { k, lambda, temperature, gate, effort, stores, lambdas };
}

/** Errors: `INVALID_ARGUMENT`, `ABORTED`. */
export async function inspect(
  context: string | readonly number[],
  model: LanguageModel,
  retriever: Retriever,
  options: InspectOptions,
): Promise<Inspection> {
  const { show = 0, around = 16 } = options;
  const settings = storeAlone(options.settings);
  const started = performance.now();
  const ids = await promptTokens(context, model);
  const reader = await SequenceReader.open(model, options);
  try {
    const next = await reader.read([model.tokenizer.bos, ...ids]);
    const read = performance.now();
    const memory = await TextMemory.open(
      ids,
      { model, retriever },
      {
        ...options,
        settings,
        alwaysSearch: true,
      },
    );
    const prediction = await memory.predict(next);
    const found = performance.now();
    const row = prediction.voters;
    const count = Array.from(row.ids).filter((id) => id >= 0).length;
    const { datastore } = retriever;
    const { tokenizer } = model;
    const hits = Array.from(prediction.weights.subarray(0, Math.min(show, count)), (weight, i) => ({
      entry: row.ids[i]!,
      distance: row.distances[i]!,
      weight,
    }));
    return {
      tokens: Int32Array.from(ids),
      prediction,
      places: Array.from({ length: count }, (_, i) => row.ids[i]!).map((entry) => {
        const { document, position, store } = datastore.documents.locate(entry);
        return { entry, ...(store !== undefined && { store }), document: document.id, position };
      }),
      distances: Float32Array.from({ length: count }, (_, i) => row.distances[i]!),
      targets: Uint32Array.from({ length: count }, (_, i) => row.values[i]!),
      neighbors: await citeEntries(hits, { datastore, tokenizer, around }),
      ...(settings.gate && {
        gate: new Gate(settings.gate, count).shares({
          row: searchedRow(row),
          best: prediction.best,
        }),
      }),
      settings,
      leftOut: leftOutOf(options.settings),
      milliseconds: { model: read - started, search: found - read },
    };
  } finally {
    await reader.close();
  }
}
