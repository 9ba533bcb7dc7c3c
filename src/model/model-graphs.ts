/** The graphs of one model, and the sessions made of them, each on first use. */
import type { Ort } from '../onnxruntime.ts';
import { ModelSession } from './model-session.ts';
import { describeGraph, type GraphDescription } from './onnx/describe-graph.ts';
import type { PatchOptions } from './onnx/patch-graph.ts';
import { readGraph } from './onnx/read-graph.ts';
import type { RuntimePlan } from './worker-protocol.ts';

/** A decoder's graph that can be run, and its key. */
export interface Source {
  path: string;
  /** It is the part of a merged export that reads on from a cache. */
  cached: boolean;
  keyTensor: string;
  description: GraphDescription;
}

export class ModelGraphs {
  readonly plan: RuntimePlan;
  readonly ort: typeof Ort;
  /** Reads a text from its start. */
  readonly start: Source;
  /** Reads on from the cache: the same graph, or the second of an export that has two. */
  readonly onward: Source;
  readonly #sessions = new Map<string, Promise<ModelSession>>();

  constructor(plan: RuntimePlan, ort: typeof Ort) {
    this.plan = plan;
    this.ort = ort;
    const { path, keyTensor } = plan;
    const source = (graph: Omit<Source, 'description'>): Source => ({
      ...graph,
      description: describeGraph(readGraph(graph.path, { cached: graph.cached })),
    });
    this.start = source({ path, cached: false, keyTensor });
    this.onward = plan.onward ? source(plan.onward) : this.start;
  }

  /** The session of this name, made of the graph as `patch` says when there is none. Errors: those of `ModelSession.create`. */
  session(
    name: string,
    { path, cached }: Pick<Source, 'path' | 'cached'>,
    patch: PatchOptions,
  ): Promise<ModelSession> {
    let session = this.#sessions.get(name);
    if (session === undefined) {
      const graph = readGraph(path, { cached });
      const { threads, provider } = this.plan;
      session = ModelSession.create(this.ort, graph, { ...patch, threads, provider });
      this.#sessions.set(name, session);
    }
    return session;
  }

  async closeSession(name: string): Promise<void> {
    const pending = this.#sessions.get(name);
    this.#sessions.delete(name);
    const opened = await pending?.catch(() => undefined);
    await opened?.release();
  }

  async close(): Promise<void> {
    for (const name of this.#sessions.keys()) await this.closeSession(name);
  }
}
