/**
 * Reading a text on from an attention cache of its own, which goes round inside the worker. Several rows can go side by side, as the beams of a
 * search do: they have read equally many tokens, and a step says which row each of the next ones continues.
 *
 * A text begins in one graph and may go on in another (merged exports, decoder_with_past_model). Graphs without a cache read it all again.
 */
import type { Ort } from '../../onnxruntime.ts';
import { buildFeeds, type KvCache } from '../graph-feeds.ts';
import { keyRows } from '../key-rows.ts';
import type { ReadStates } from '../language-model.ts';
import { logSoftmax } from '../log-softmax.ts';
import type { ModelGraphs, Source } from '../model-graphs.ts';
import { lastLogits } from '../onnx/last-logits.ts';
import { readGraph } from '../onnx/read-graph.ts';
import type { Replacement } from '../onnx/replacement.ts';
import type { EncodedSources } from '../source-encoder.ts';
import { selectRows } from '../tensor-rows.ts';
import type { ReadRequest } from './sequence.ts';

export interface DecoderState {
  /** Sequences side by side: B. */
  rows: number;
  cache: KvCache | undefined;
  /** Tokens read, the same in every row. */
  position: number;
  /** (B) everything read. */
  tokens: number[][];
  /** What an encoder-decoder attends to, a row each. */
  sources: EncodedSources | undefined;
}

export const freshState = (sources?: EncodedSources): DecoderState => ({
  rows: 1,
  cache: undefined,
  position: 0,
  tokens: [[]],
  sources,
});

const KEY = 'knn_key';
const LOGITS = 'knn_logits';
/** Logits of one run while reading a prompt, in bytes; longer prompts are read in parts. */
const PROMPT_LOGITS_BYTES = 64 * 2 ** 20;

export class GraphDecoder {
  readonly #graphs: ModelGraphs;
  readonly #lastLogits = new Map<Source, Replacement | undefined>();

  constructor(graphs: ModelGraphs) {
    this.#graphs = graphs;
  }

  /** Whether reading can go on where it stopped; otherwise every run reads the whole text. */
  get hasCache(): boolean {
    return this.#graphs.onward.description.cache.length > 0;
  }

  /** Reads the tokens of a single row after those read before; the state after the last. */
  async read(state: DecoderState, tokens: ArrayLike<number>): Promise<ReadStates> {
    let last: ReadStates | undefined;
    for (let start = 0; start < tokens.length; ) {
      const end = Math.min(tokens.length, start + this.mostPerRun(state, 'last'));
      last = await this.run(state, Int32Array.from(tokens).subarray(start, end), 'last');
      start = end;
    }
    return last!;
  }

  /**
   * One more token for each of (B) rows.
   * @param parents the row that each continues, of those before @returns (B, d) and (B, V)
   */
  async step(
    state: DecoderState,
    parents: readonly number[],
    tokens: Int32Array,
  ): Promise<ReadStates> {
    this.#select(state, parents);
    return await this.run(state, tokens, 'last');
  }

  /** Of the source that all rows have. */
  firstRow({ states, mask }: EncodedSources): EncodedSources {
    const { ort } = this.#graphs;
    return { states: selectRows(ort, states, [0]), mask: selectRows(ort, mask, [0]) };
  }

  #select(state: DecoderState, parents: readonly number[]): void {
    const { ort, onward } = this.#graphs;
    const select = (tensor: Ort.Tensor): Ort.Tensor => selectRows(ort, tensor, parents);
    const isOfSource = new Set(onward.description.cross.map(({ input }) => input.name));
    state.cache &&= Object.fromEntries(
      Object.entries(state.cache).map(([name, tensor]) => [
        name,
        // All rows have one source: only their number can change.
        isOfSource.has(name) && parents.length === state.rows ? tensor : select(tensor),
      ]),
    );
    if (state.sources && parents.length !== state.rows) {
      state.sources = { states: select(state.sources.states), mask: select(state.sources.mask) };
    }
    state.tokens = parents.map((row) => [...state.tokens[row]!]);
    state.rows = parents.length;
  }

  /** How many tokens the next run may read. */
  mostPerRun({ position }: DecoderState, wanted: 'all' | 'last'): number {
    const { start, onward } = this.#graphs;
    const { cache, logits } = onward.description;
    // A second decoder may have been traced with one token at a time.
    if (onward !== start && position > 0) return 1;
    const keepsLast = [start, onward].every((source) => this.#keepsLast(source));
    if (wanted === 'last' && (cache.length === 0 || keepsLast)) return Number.POSITIVE_INFINITY;
    return Math.max(1, Math.floor(PROMPT_LOGITS_BYTES / 4 / (logits.vocabSize ?? 1)));
  }

  /** Whether logits of other positions than the last need not be computed. */
  #keepsLast(source: Source): boolean {
    const { logitsToKeepInput } = source.description;
    return logitsToKeepInput !== undefined || this.#lastLogitsOf(source) !== undefined;
  }

  #lastLogitsOf(source: Source): Replacement | undefined {
    if (!this.#lastLogits.has(source)) {
      const { path, cached } = source;
      this.#lastLogits.set(source, lastLogits(readGraph(path, { cached })));
    }
    return this.#lastLogits.get(source);
  }

  /**
   * @param part (B, n) row-major
   * @returns the state after the last of each row, or with `all` after each token; with `keys` the keys after each and log-probabilities after the last
   */
  async run(
    state: DecoderState,
    part: Int32Array,
    wanted: ReadRequest['wanted'],
  ): Promise<ReadStates> {
    const { ort, plan, start, onward } = this.#graphs;
    const { cache, cross } = onward.description;
    const { rows } = state;
    const isStart = state.position === 0;
    const source = isStart ? start : onward;
    const carried = [
      ...cache.map((pair) => [pair.input.name, pair.output] as const),
      // Made from the source by the first run, and then the same for good.
      ...(isStart ? cross.map((tensor) => [tensor.input.name, tensor.output] as const) : []),
    ];
    const session = await this.#graphs.session(
      source === start ? 'decode' : 'decode onward',
      source,
      {
        expose: { [KEY]: source.keyTensor, [LOGITS]: source.description.logits.name },
        keepOutputs: carried.map(([, output]) => output),
        replacement: this.#lastLogitsOf(source),
      },
    );
    const fresh = part.length / rows;
    const freshOf = (row: number): Int32Array => part.subarray(row * fresh, (row + 1) * fresh);
    const tokens = this.hasCache
      ? part
      : Int32Array.from(state.tokens.flatMap((read, row) => [...read, ...freshOf(row)]));
    const length = tokens.length / rows;
    const results = await session.run(
      buildFeeds(ort, {
        ...plan,
        inputs: session.inputs,
        description: source.description,
        tokens,
        batch: rows,
        length,
        past: this.hasCache ? state.position : 0,
        cache: state.cache,
        sources: state.sources,
        logitsToKeep: wanted === 'all' ? 0 : 1,
      }),
    );
    const made = carried.map(([input, output]) => [input, results[output] as Ort.Tensor]);
    state.cache = { ...state.cache, ...Object.fromEntries(made) };
    state.tokens.forEach((read, row) => {
      for (const id of freshOf(row)) read.push(id);
    });
    state.position += fresh;
    const keys = keyRows(results[KEY]!, { batch: rows, length }, plan);
    return {
      keys: lastOfRows(keys, { rows, length, kept: wanted === 'last' ? 1 : fresh }),
      logProbs: logProbsOf(results[LOGITS] as Ort.Tensor, rows, wanted === 'all' ? fresh : 1),
    };
  }
}

/** The last positions of each row. @param values (rows, length, width) @returns (rows, kept, width), of its own */
function lastOfRows(
  values: Float32Array,
  { rows, length, kept }: { rows: number; length: number; kept: number },
): Float32Array {
  const size = values.length / rows;
  const wanted = (size / length) * kept;
  const out = new Float32Array(rows * wanted);
  for (let row = 0; row < rows; row++) {
    const end = (row + 1) * size;
    out.set(values.subarray(end - wanted, end), row * wanted);
  }
  return out;
}

/** @param logits (rows, positions, V) @returns (rows, kept, V) of the last positions */
function logProbsOf(logits: Ort.Tensor, rows: number, kept: number): Float32Array {
  const vocabSize = logits.dims.at(-1)!;
  const length = logits.size / rows / vocabSize;
  const out = lastOfRows(logits.data as Float32Array, { rows, length, kept });
  for (let start = 0; start < out.length; start += vocabSize) {
    out.set(logSoftmax(out.subarray(start, start + vocabSize)), start);
  }
  return out;
}
