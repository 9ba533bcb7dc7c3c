/**
 * The residual stream of a decoder, found as its dominator chain.
 *
 * Node d dominates node n when every path from the embedding to n passes through d. In a network with residual
 * connections the dominators of the logits are the residual additions (and what follows the last one), and between two
 * consecutive ones lies one sublayer: attention, feed-forward, or both where they run in parallel.
 * Nodes come in topological order, so one pass computes immediate dominators (Cooper, Harvey and Kennedy, 2001).
 */
import type { Dataflow } from './dataflow.ts';

/** Stands for the embedding, which may be a graph input and so have no node. */
export const ROOT = -1;

export interface Segment {
  /** Trunk nodes before and after. */
  before: number;
  after: number;
  /** Indices of the nodes strictly between, ascending. */
  nodes: number[];
}

export class Trunk {
  readonly flow: Dataflow;
  /** Node index → its immediate dominator; only for nodes between embedding and target. */
  readonly #dominator = new Map<number, number>();
  readonly #depth = new Map<number, number>([[ROOT, 0]]);
  readonly #predecessors = new Map<number, number[]>();
  /** The node that makes the target. */
  readonly last: number;
  /** Stretches of the trunk with a branch between them, first to last. */
  readonly segments: Segment[] = [];

  /** @param target a tensor that depends on the embedding, such as the logits */
  constructor(flow: Dataflow, target: string) {
    this.flow = flow;
    this.last = target === flow.root ? ROOT : flow.producer.get(target)!;
    for (const node of this.#ancestors(this.last)) this.#addDominator(node);
    for (let after = this.last; after !== ROOT; after = this.dominatorOf(after)) {
      const before = this.dominatorOf(after);
      const nodes = this.between(before, after);
      if (nodes.length > 0) this.segments.push({ before, after, nodes });
    }
    this.segments.reverse();
  }

  /** Whether a node lies between the embedding and the target. */
  has(node: number): boolean {
    return this.#dominator.has(node);
  }

  dominatorOf(node: number): number {
    return this.#dominator.get(node)!;
  }

  /** Whether every path from the embedding to `node` passes `dominator` (or they are the same). */
  dominates(dominator: number, node: number): boolean {
    let at = node;
    while (this.#depth.get(at)! > this.#depth.get(dominator)!) at = this.dominatorOf(at);
    return at === dominator;
  }

  /** Nodes strictly between a node and one it dominates, ascending. */
  between(before: number, after: number): number[] {
    const seen = new Set<number>();
    const stack = [...this.#predecessors.get(after)!];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (node === before || node === ROOT || seen.has(node)) continue;
      seen.add(node);
      stack.push(...this.#predecessors.get(node)!);
    }
    return [...seen].sort((a, b) => a - b);
  }

  /** The tensor by which `from` (or the embedding) enters the given nodes. */
  tensorFrom(from: number, readers: readonly number[]): string | undefined {
    const { graph, root, producer } = this.flow;
    if (from === ROOT) return root;
    for (const reader of readers) {
      for (const name of this.flow.activationInputs(graph.nodes[reader]!)) {
        if (producer.get(name) === from) return name;
      }
    }
    return undefined;
  }

  /** Nodes on a path from the embedding to `last`, ascending; notes each one's predecessors. */
  #ancestors(last: number): number[] {
    const { graph, root, producer } = this.flow;
    const stack = [last];
    for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
      if (node === ROOT || this.#predecessors.has(node)) continue;
      const before = new Set<number>();
      for (const name of this.flow.activationInputs(graph.nodes[node]!)) {
        before.add(name === root ? ROOT : producer.get(name)!);
      }
      this.#predecessors.set(node, [...before]);
      stack.push(...before);
    }
    return [...this.#predecessors.keys()].sort((a, b) => a - b);
  }

  #addDominator(node: number): void {
    const [first, ...rest] = this.#predecessors.get(node)!;
    let dominator = first!;
    for (const other of rest) dominator = this.#meet(dominator, other);
    this.#dominator.set(node, dominator);
    this.#depth.set(node, this.#depth.get(dominator)! + 1);
  }

  /** Lowest common ancestor in the dominator tree so far. */
  #meet(first: number, second: number): number {
    let a = first;
    let b = second;
    while (a !== b) {
      if (this.#depth.get(a)! >= this.#depth.get(b)!) a = this.dominatorOf(a);
      else b = this.dominatorOf(b);
    }
    return a;
  }
}
