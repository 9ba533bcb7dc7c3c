/**
 * One decoding step of several texts at once: the next token of each, from the rows of a `CacheBlock`. The graph gives the key, the
 * log-probabilities and the positions added to the cache, which are the only part of the cache that leaves it.
 */
import type { Ort } from '../../onnxruntime.ts';
import { buildFeeds } from '../graph-feeds.ts';
import { keyRows } from '../key-rows.ts';
import type { ReadStates } from '../language-model.ts';
import type { ModelGraphs } from '../model-graphs.ts';
import type { ModelSession } from '../model-session.ts';
import { findCacheRows } from '../onnx/cache-rows.ts';
import type { ExposedTensor } from '../onnx/patch-graph.ts';
import { readGraph } from '../onnx/read-graph.ts';
import { splitAttention } from '../onnx/split-attention.ts';
import { bytesPerPosition, CacheBlock, type RowLayout, rowLayouts } from './cache-block.ts';

const KEY = 'knn_key';
const LOG_PROBS = 'knn_log_probs';
const added = (layout: number): string => `knn_added_${layout}`;

export class StepReader {
  /** Bytes of a token in the cache. */
  readonly bytesPerPosition: number;
  /** Most positions of a row: behind them comes one more, and attention must still see all of them. */
  readonly mostPositions: number;
  readonly #graphs: ModelGraphs;
  readonly #name: string;
  readonly #session: ModelSession;
  readonly #layouts: readonly RowLayout[];

  /**
   * Undefined where the graph's cache is not one that rows can be added to. Errors: those of making a session.
   * @param isSplit attention reads the cache where it lies; undefined where it cannot
   */
  static async open(graphs: ModelGraphs, isSplit: boolean): Promise<StepReader | undefined> {
    const { onward, plan } = graphs;
    const { path, cached, description, keyTensor } = onward;
    const graph = readGraph(path, { cached });
    const rows = findCacheRows(graph, description.cache);
    const layouts = rows && rowLayouts(graph, rows, plan);
    if (!layouts || !description.attentionMask || description.sourceStates) return undefined;
    const expose: Record<string, ExposedTensor> = {
      [KEY]: { tensor: keyTensor },
      [LOG_PROBS]: { tensor: description.logits.name, logSoftmax: true },
    };
    for (const [i, layout] of layouts.entries()) {
      expose[added(i)] = { tensor: layout.added, type: layout.elementType };
    }
    const heads = layouts.map(({ before }) => before[0]!);
    const replacement = isSplit ? splitAttention(graph, rows, heads) : undefined;
    if (isSplit && !replacement) return undefined;
    const name = isSplit ? 'split steps' : 'steps';
    const session = await graphs.session(name, onward, { expose, keepOutputs: [], replacement });
    return new StepReader(graphs, { name, session }, layouts);
  }

  private constructor(
    graphs: ModelGraphs,
    { name, session }: { name: string; session: ModelSession },
    layouts: readonly RowLayout[],
  ) {
    this.#graphs = graphs;
    this.#name = name;
    this.#session = session;
    this.#layouts = layouts;
    this.bytesPerPosition = bytesPerPosition(layouts);
    const { contextLength, uniformLength = contextLength } = graphs.plan;
    this.mostPositions = Math.min(contextLength, uniformLength) - 1;
  }

  /** Frees the session of a reader that is not used. */
  close(): Promise<void> {
    return this.#graphs.closeSession(this.#name);
  }

  newBlock(size: { room: number; capacity: number }): CacheBlock {
    return new CacheBlock(this.#graphs.ort, this.#layouts, size);
  }

  /**
   * Reads one token of each of the given rows, in ascending order; each has one unread token and room for it.
   * @returns keys (d) and log-probabilities (V) by row, views of what the run gave
   */
  async step(block: CacheBlock, rows: readonly number[]): Promise<ReadStates[]> {
    const { ort, plan, onward } = this.#graphs;
    const from = rows[0]!;
    const to = rows.at(-1)! + 1;
    const batch = to - from;
    const sequences = block.sequences.slice(from, to);
    const results = await this.#session.run(
      buildFeeds(ort, {
        ...plan,
        inputs: this.#session.inputs,
        description: onward.description,
        // Rows between them that are not asked for are computed as well, with any token.
        tokens: Int32Array.from(sequences, ({ unread }) => unread[0] ?? 0),
        batch,
        length: 1,
        past: block.capacity,
        cache: block.view(from, to),
        read: sequences.map(({ cached }) => cached),
        logitsToKeep: 1,
      }),
    );
    const cache = this.#layouts.map(({ input }, i) => [input, results[added(i)] as Ort.Tensor]);
    block.append(Object.fromEntries(cache), from, rows);
    for (const row of rows) {
      const { state, unread } = block.sequences[row]!;
      state.tokens[0]!.push(unread.shift()!);
      state.position++;
    }
    const keys = keyRows(results[KEY]!, { batch, length: 1 }, plan);
    const logProbs = results[LOG_PROBS]!.data as Float32Array;
    const row = (values: Float32Array, i: number): Float32Array => {
      const width = values.length / batch;
      return values.subarray((i - from) * width, (i - from + 1) * width);
    };
    return rows.map((i) => ({ keys: row(keys, i), logProbs: row(logProbs, i) }));
  }
}
