/**
 * Attention that reads the cache where it lies. Exports join the cache with the new positions before every product, which copies all of
 * it, and groups of heads that share keys repeat them for each. Here products with the cache and with the new positions are
 * taken apart, and heads of a group are rows of one product:
 *
 *     q · [K; k]ᵀ  =  [q · Kᵀ, q · kᵀ]            [w, u] · [V; v]  =  w · V + u · v
 *
 * Found in the graph by its shape: Concat(past, added), then Unsqueeze, Expand, Reshape where heads are repeated, then for keys Transpose
 * and a factor, then MatMul. Sums are the same but for their order.
 */
import type { CacheRows } from './cache-rows.ts';
import { Dataflow } from './dataflow.ts';
import { encodeIntegers, encodeNode } from './encode-nodes.ts';
import type { OnnxGraph, OnnxNode } from './graph.ts';
import type { Replacement } from './replacement.ts';

/** What is done with a cache tensor after it was joined. */
interface Use {
  rows: CacheRows;
  /** Heads are repeated for the queries of their group. */
  isRepeated: boolean;
  isTransposed: boolean;
  /** Factor of the keys. */
  scale: string | undefined;
  product: OnnxNode;
  /** Nodes that read its shape: joined, or with repeated heads. */
  shapes: { node: OnnxNode; isRepeated: boolean }[];
}

/** @param heads of each cache tensor. Undefined where the attention of a layer is not of this form. */
export function splitAttention(
  graph: OnnxGraph,
  rows: readonly CacheRows[],
  heads: readonly number[],
): Replacement | undefined {
  const flow = new Dataflow(graph);
  const writer = new SplitWriter();
  for (const [i, one] of rows.entries()) {
    const use = findUse(flow, one);
    if (!use) return undefined;
    writer.split(use, heads[i]!);
  }
  return writer;
}

/** How heads are repeated for the queries of their group. */
const REPEAT = ['Unsqueeze', 'Expand', 'Reshape'];

function findUse(flow: Dataflow, rows: CacheRows): Use | undefined {
  const use: Omit<Use, 'product'> = {
    rows,
    isRepeated: false,
    isTransposed: false,
    scale: undefined,
    shapes: [],
  };
  let repeats = 0;
  for (let tensor = rows.joined; rows.axis === 2; ) {
    const readers = (flow.consumers.get(tensor) ?? []).map((i) => flow.graph.nodes[i]!);
    const [node, ...others] = readers.filter(({ op }) => op !== 'Shape');
    if (!node || others.length > 0) return undefined;
    const isWhole = !use.isTransposed && repeats % REPEAT.length === 0;
    for (const shape of readers) {
      if (shape === node) continue;
      if (!isWhole || shape.attributes.size > 0) return undefined;
      use.shapes.push({ node: shape, isRepeated: use.isRepeated });
    }
    if (node.op === 'MatMul') {
      const isSecond = node.inputs[1] === tensor && node.inputs[0] !== tensor;
      return isSecond && repeats % REPEAT.length === 0 ? { ...use, product: node } : undefined;
    }
    const other = node.inputs.find((name) => name !== tensor);
    const isTranspose = node.op === 'Transpose' && String(node.attributes.get('perm')) === PERM;
    if (!use.isTransposed && node.op === REPEAT[repeats] && node.inputs[0] === tensor) {
      repeats++;
      use.isRepeated = repeats === REPEAT.length;
    } else if (!use.isTransposed && isTranspose) use.isTransposed = true;
    else if (use.isTransposed && !use.scale && node.op === 'Mul' && isNumber(flow, other)) {
      use.scale = other;
    } else return undefined;
    tensor = node.outputs[0]!;
  }
  return undefined;
}

/** Positions and width change places. */
const PERM = '0,1,3,2';

const isNumber = (flow: Dataflow, tensor: string | undefined): tensor is string =>
  tensor !== undefined && flow.constantShape(tensor)?.length === 0;

/** Past every position. */
const END = 2 ** 31 - 1;

class SplitWriter implements Replacement {
  readonly removed = new Set<number>();
  readonly added: Uint8Array[] = [];
  readonly reads: string[] = [];
  /** Heads of the cache at hand. */
  #groups = 0;

  split(use: Use, groups: number): void {
    const { product, rows, shapes, isTransposed } = use;
    this.#groups = groups;
    this.removed.add(product.position);
    const [output] = product.outputs as [string];
    if (isTransposed) this.#splitScores(use, output);
    else this.#splitSum(use, output);
    for (const { node, isRepeated } of shapes) {
      this.removed.add(node.position);
      this.#shape(rows, isRepeated ? product.inputs[0] : undefined, node.outputs[0]!);
    }
  }

  /** q · [K; k]ᵀ, queries of shape (B, heads, S, d). */
  #splitScores({ rows, product, scale, isRepeated }: Use, output: string): void {
    const at = (name: string): string => `${output}/knn_${name}`;
    const [queries] = product.inputs as [string];
    let q = queries;
    if (scale) q = this.#node('Mul', [q, scale], at('scaled'));
    if (isRepeated) q = this.#grouped(q, at('grouped'));
    const parts = [rows.input, rows.added].map((keys, i) => {
      const perm = PERM.split(',').map(Number);
      const transposed = this.#node('Transpose', [keys], at(`keys_${i}`), { perm });
      return this.#node('MatMul', [q, transposed], at(`scores_${i}`));
    });
    const scores = isRepeated ? at('scores') : output;
    this.#node('Concat', parts, scores, { axis: 3 });
    if (isRepeated) this.#ungrouped(scores, queries, output);
  }

  /** [w, u] · [V; v], weights of shape (B, heads, S, positions). */
  #splitSum({ rows, product, isRepeated }: Use, output: string): void {
    const at = (name: string): string => `${output}/knn_${name}`;
    const [weights] = product.inputs as [string];
    const past = this.#sizes(rows.input, [2], at('past'));
    const [zero, end, axis] = [
      this.#integers(at('zero'), [0]),
      this.#integers(at('end'), [END]),
      this.#integers(at('axis'), [3]),
    ];
    const bounds = [
      [zero, past],
      [past, end],
    ];
    const parts = [rows.input, rows.added].map((values, i) => {
      let part = this.#node('Slice', [weights, ...bounds[i]!, axis], at(`weights_${i}`));
      if (isRepeated) part = this.#grouped(part, at(`grouped_${i}`));
      return this.#node('MatMul', [part, values], at(`sum_${i}`));
    });
    const sum = isRepeated ? at('sum') : output;
    this.#node('Add', parts, sum);
    if (isRepeated) this.#ungrouped(sum, weights, output);
  }

  /** (B, heads, S, n) → (B, groups, heads / groups · S, n) */
  #grouped(tensor: string, output: string): string {
    const shape = this.#integers(`${output}_shape`, [0, this.#groups, -1, 0]);
    return this.#node('Reshape', [tensor, shape], output);
  }

  /** (B, groups, heads / groups · S, n) → (B, heads, S, n), with the heads and S of another tensor. */
  #ungrouped(tensor: string, like: string, output: string): void {
    const sizes = this.#sizes(like, [0, 1, 2], `${output}/knn_sizes`);
    const rest = this.#integers(`${output}/knn_rest`, [-1]);
    const shape = this.#node('Concat', [sizes, rest], `${output}/knn_shape`, { axis: 0 });
    this.#node('Reshape', [tensor, shape], output);
  }

  /** The shape of joined positions; with repeated heads, those of `heads`. */
  #shape({ input, added }: CacheRows, heads: string | undefined, output: string): void {
    const at = (name: string): string => `${output}/knn_${name}`;
    const positions = [input, added].map((name, i) => this.#sizes(name, [2], at(`length_${i}`)));
    const parts = [
      this.#sizes(heads ?? input, [0, 1], at('rows')),
      this.#node('Add', positions, at('length')),
      this.#sizes(input, [3], at('width')),
    ];
    this.#node('Concat', parts, output, { axis: 0 });
  }

  /** Some sizes of a tensor, as integers. */
  #sizes(tensor: string, axes: number[], output: string): string {
    const shape = this.#node('Shape', [tensor], `${output}_all`);
    const indices = this.#integers(`${output}_axes`, axes);
    return this.#node('Gather', [shape, indices], output, { axis: 0 });
  }

  #integers(name: string, values: number[]): string {
    this.added.push(encodeIntegers(name, values));
    return name;
  }

  #node(
    op: string,
    inputs: string[],
    output: string,
    attributes?: Record<string, number | number[]>,
  ): string {
    this.added.push(encodeNode({ op, inputs, output, attributes }));
    this.reads.push(...inputs);
    return output;
  }
}
