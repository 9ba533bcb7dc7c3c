/** The encoder of an encoder-decoder model. It reads a source once; the decoder attends to its states as often as it likes. */
import { KnnLMError } from '../errors.ts';
import type { Ort } from '../onnxruntime.ts';
import { integers } from './graph-feeds.ts';
import type { ModelGraphs } from './model-graphs.ts';
import type { ModelSession } from './model-session.ts';
import type { OnnxGraph } from './onnx/graph.ts';
import { readGraph } from './onnx/read-graph.ts';
import { padded } from './window-batch.ts';

/** Sources as a decoder is fed them. Shapes: S positions of the longest, d its width. */
export interface EncodedSources {
  /** (batch, S, d) */
  states: Ort.Tensor;
  /** (batch, S) 1 where there is a token, 0 in padding. */
  mask: Ort.Tensor;
}

/** The output that decoders are fed. Errors: `MODEL_UNSUPPORTED` when the graph is no encoder. */
export function statesOutput(graph: OnnxGraph): string {
  const named = graph.outputs.find(({ name }) => name === 'last_hidden_state');
  const output = named ?? (graph.outputs.length === 1 ? graph.outputs[0] : undefined);
  const unknown = graph.inputs.find(({ name }) => !['input_ids', 'attention_mask'].includes(name));
  if (output !== undefined && unknown === undefined) return output.name;
  throw new KnnLMError(
    'MODEL_UNSUPPORTED',
    unknown
      ? `The encoder ${graph.path} wants an input that is not known here: ${unknown.name}. Use another export of the model.`
      : `The encoder ${graph.path} has no output named last_hidden_state. Use another export of the model.`,
  );
}

export class SourceEncoder {
  readonly #graphs: ModelGraphs;
  readonly #path: string;
  readonly #output: string;

  /** @param path of the encoder's graph. Errors: those of `statesOutput`. */
  constructor(graphs: ModelGraphs, path: string) {
    this.#graphs = graphs;
    this.#path = path;
    this.#output = statesOutput(readGraph(path));
  }

  /** Shorter sources are padded, and no state of a real position depends on the padding: the mask keeps it out of attention. */
  async encode(sources: readonly Int32Array[]): Promise<EncodedSources> {
    const { ort } = this.#graphs;
    const session = await this.#session();
    const { count, length, tokens } = padded(sources);
    const dims = [count, length];
    const isToken = (i: number): number =>
      i % length < sources[Math.floor(i / length)]!.length ? 1 : 0;
    const feeds = session.inputs.map((input) => {
      const valueAt = input.name === 'attention_mask' ? isToken : (i: number) => tokens[i]!;
      return [input.name, integers(ort, input, dims, valueAt)] as const;
    });
    const [states] = Object.values(await session.run(Object.fromEntries(feeds)));
    return { states: states as Ort.Tensor, mask: integers(ort, MASK, dims, isToken) };
  }

  #session(): Promise<ModelSession> {
    const source = { path: this.#path, cached: false };
    return this.#graphs.session('encoder', source, { keepOutputs: [this.#output] });
  }
}

/** As decoders want it. */
const MASK = { name: 'encoder_attention_mask', elementType: 'int64', shape: undefined } as const;
