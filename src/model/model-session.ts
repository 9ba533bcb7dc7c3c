/** One patched graph in onnxruntime: made from a file, run on feeds. Runs block their thread: for workers. */
import { dirname } from 'node:path';
import { KnnLMError } from '../errors.ts';
import type { Ort } from '../onnxruntime.ts';
import type { Provider } from './device.ts';
import type { OnnxGraph } from './onnx/graph.ts';
import { type PatchedGraph, type PatchOptions, patchGraph } from './onnx/patch-graph.ts';

export class ModelSession {
  /** What must be fed. */
  readonly inputs: PatchedGraph['inputs'];
  readonly #session: Ort.InferenceSession;

  private constructor(session: Ort.InferenceSession, inputs: PatchedGraph['inputs']) {
    this.#session = session;
    this.inputs = inputs;
  }

  /** Errors: `MODEL_INVALID` when onnxruntime refuses the graph, `MODEL_UNSUPPORTED` when it lacks the provider. */
  static async create(
    ort: typeof Ort,
    graph: OnnxGraph,
    { threads, provider, ...patch }: PatchOptions & { threads: number; provider: Provider },
  ): Promise<ModelSession> {
    const patched = patchGraph(graph, patch);
    const session: Record<string, unknown> = {
      // Threads that spin between runs take the cores from search and from the other workers.
      intra_op: { allow_spinning: '0' },
    };
    if (patched.externalFiles.length > 0) {
      session.model_external_initializers_file_folder_path = dirname(graph.path);
    }
    try {
      const created = await ort.InferenceSession.create(patched.bytes, {
        executionProviders: [provider],
        intraOpNumThreads: threads,
        interOpNumThreads: 1,
        graphOptimizationLevel: 'all',
        // Whatever onnxruntime logs goes to standard error, past the caller; errors are thrown as well.
        logSeverityLevel: 4,
        extra: { session },
      });
      return new ModelSession(created, patched.inputs);
    } catch (cause) {
      if (provider !== 'cpu') {
        throw new KnnLMError(
          'MODEL_UNSUPPORTED',
          `onnxruntime cannot run the model on it (${firstLine(cause).slice(-160)}).`,
          { cause },
        );
      }
      throw new KnnLMError(
        'MODEL_INVALID',
        `onnxruntime cannot load ${graph.path}: ${firstLine(cause)} Download the model again or choose another dtype.`,
        { cause },
      );
    }
  }

  async run(
    feeds: Record<string, Ort.Tensor>,
    outputs: readonly string[] = this.#session.outputNames,
  ): Promise<Ort.InferenceSession.ReturnType> {
    try {
      return await this.#session.run(feeds, outputs, { logSeverityLevel: 4 });
    } catch (cause) {
      const message = firstLine(cause);
      if (!/alloc/i.test(message)) throw cause;
      throw new KnnLMError(
        'IO',
        `The model ran out of memory (${message}). Use fewer workers, a smaller window or a smaller dtype.`,
        { cause },
      );
    }
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

export function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0]!;
}
