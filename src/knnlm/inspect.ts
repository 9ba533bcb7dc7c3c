/** One prediction with everything that was retrieved for it, so that it can be explained, or mixed again elsewhere. */
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { citeEntries } from './cite.ts';
import { Gate } from './gate.ts';
import { type Prediction, predict, promptTokens } from './generate.ts';
import { SequenceReader } from './reader.ts';
import { neighborRow, type Retriever } from './retriever.ts';
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
  milliseconds: { model: number; search: number };
}

/** Errors: `INVALID_ARGUMENT`, `ABORTED`. */
export async function inspect(
  context: string | readonly number[],
  model: LanguageModel,
  retriever: Retriever,
  options: InspectOptions,
): Promise<Inspection> {
  const { settings, exclude, signal, show = 0, around = 16 } = options;
  const started = performance.now();
  const ids = await promptTokens(context, model);
  const reader = await SequenceReader.open(model, options);
  try {
    const next = await reader.read([model.tokenizer.bos, ...ids]);
    const read = performance.now();
    const prediction = await predict(next, retriever, {
      settings: { ...settings, onIndexFailure: undefined },
      exclude,
      signal,
      alwaysSearch: true,
    });
    const found = performance.now();
    const row = neighborRow(prediction.retrieved!, 0);
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
      places: Array.from(prediction.retrieved!.ids.subarray(0, count), (entry) => {
        const { document, position, store } = datastore.documents.locate(entry);
        return { entry, ...(store !== undefined && { store }), document: document.id, position };
      }),
      distances: prediction.retrieved!.distances.subarray(0, count),
      targets: prediction.retrieved!.values.subarray(0, count),
      neighbors: await citeEntries(hits, { datastore, tokenizer, around }),
      ...(settings.gate && { gate: new Gate(settings.gate, settings.k).shares(row) }),
      milliseconds: { model: read - started, search: found - read },
    };
  } finally {
    await reader.close();
  }
}
