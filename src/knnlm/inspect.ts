/** One prediction with everything that was retrieved for it, so that it can be explained, or mixed again elsewhere. */
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { Gate } from './gate.ts';
import { type Prediction, predict, promptTokens } from './generate.ts';
import { SequenceReader } from './reader.ts';
import { neighborRow, type Retriever } from './retriever.ts';
import type { ResolvedSettings } from './types.ts';
import type { WindowPlan } from './windows.ts';

export interface InspectOptions extends WindowPlan {
  settings: ResolvedSettings;
  exclude?: readonly IdRange[];
  signal?: AbortSignal;
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
  const { settings, exclude, signal } = options;
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
    const row = neighborRow(prediction.retrieved!, 0);
    const count = Array.from(row.ids).filter((id) => id >= 0).length;
    const { documents } = retriever.datastore;
    return {
      tokens: Int32Array.from(ids),
      prediction,
      places: Array.from(prediction.retrieved!.ids.subarray(0, count), (entry) => {
        const { document, position, store } = documents.locate(entry);
        return { entry, ...(store !== undefined && { store }), document: document.id, position };
      }),
      distances: prediction.retrieved!.distances.subarray(0, count),
      targets: prediction.retrieved!.values.subarray(0, count),
      ...(settings.gate && { gate: new Gate(settings.gate, settings.k).shares(row) }),
      milliseconds: { model: read - started, search: performance.now() - read },
    };
  } finally {
    await reader.close();
  }
}
