/**
 * Who makes and who reads each tensor, and which tensors carry the hidden state.
 *
 * Constants are initializers and whatever is computed from nothing else (dequantized weights count). The root is the
 * embedding of the tokens. Activations are what depends on the root by value, not by shape only; masks, rotary tables and
 * the attention cache of earlier tokens are none.
 */
import { type ElementType, elementTypeOf } from './element-types.ts';
import { intAttribute, type OnnxGraph, type OnnxNode, readsOf } from './graph.ts';
import { factorsOf, inputWidth, PASS_THROUGH, SHAPE_ONLY } from './operators.ts';

const TOKEN_INPUTS = ['input_ids', 'decoder_input_ids', 'tokens', 'input_tokens', 'input'];
const EMBEDDING_INPUTS = ['inputs_embeds', 'input_embeds', 'decoder_inputs_embeds'];

export class Dataflow {
  readonly graph: OnnxGraph;
  /** Tensor → index of the node that makes it. */
  readonly producer = new Map<string, number>();
  /** Tensor → indices of the nodes that read it. */
  readonly consumers = new Map<string, number[]>();
  /** The embedded tokens; undefined when the locator finds none. */
  readonly root: string | undefined;
  readonly activations = new Set<string>();
  readonly #computedConstants = new Set<string>();
  readonly #elementTypes = new Map<string, ElementType | undefined>();

  constructor(graph: OnnxGraph) {
    this.graph = graph;
    graph.nodes.forEach((node, i) => {
      for (const output of node.outputs) if (output) this.producer.set(output, i);
      for (const name of new Set(readsOf(node))) {
        const readers = this.consumers.get(name);
        if (readers) readers.push(i);
        else this.consumers.set(name, [i]);
      }
    });
    for (const node of graph.nodes) {
      if (node.op.startsWith('Random')) continue;
      if ([...readsOf(node)].every((name) => this.isConstant(name))) {
        for (const output of node.outputs) this.#computedConstants.add(output);
      }
    }
    this.root = this.#findRoot();
    if (this.root) this.#spreadFrom(this.root);
  }

  isConstant(tensor: string): boolean {
    return (
      tensor === '' || this.graph.initializers.has(tensor) || this.#computedConstants.has(tensor)
    );
  }

  producerOf(tensor: string): OnnxNode | undefined {
    const index = this.producer.get(tensor);
    return index === undefined ? undefined : this.graph.nodes[index];
  }

  /** The activations a node reads. */
  activationInputs(node: OnnxNode): string[] {
    return [...readsOf(node)].filter((name) => this.activations.has(name));
  }

  /** The activation that is multiplied with a weight here; undefined when this is no such product. */
  weightProductInput(node: OnnxNode): string | undefined {
    const factors = factorsOf(node);
    if (!factors) return undefined;
    const [a, b] = factors;
    if (this.activations.has(a) && this.#isWeight(b)) return a;
    if (this.activations.has(b) && this.#isWeight(a)) return b;
    return undefined;
  }

  /** Whether two activations are multiplied here: queries with keys, weights with values. */
  isActivationProduct(node: OnnxNode): boolean {
    const factors = factorsOf(node);
    return factors !== undefined && !factors.some((name) => this.#isWeight(name));
  }

  /** A constant, or rows of one that a router picked: the weights of a mixture's experts. */
  #isWeight(tensor: string): boolean {
    for (let name = tensor; !this.isConstant(name); ) {
      const node = this.producerOf(name);
      if (!node || name === this.root) return false;
      if (node.op === 'Gather') return this.isConstant(node.inputs[0]!);
      if (!PASS_THROUGH.has(node.op)) return false;
      name = node.inputs[0]!;
    }
    return true;
  }

  /** Back over reshapes, casts and quantization to the tensor whose content this is. */
  sourceOf(tensor: string, through: ReadonlySet<string> = PASS_THROUGH): string {
    for (let name = tensor; ; ) {
      const node = this.producerOf(name);
      if (!node || !through.has(node.op) || !this.activations.has(node.inputs[0]!)) return name;
      name = node.inputs[0]!;
    }
  }

  /** Numbers of a small constant: an initializer or the value of a Constant node. */
  constantValues(tensor: string): number[] | undefined {
    const initializer = this.graph.initializers.get(tensor);
    if (initializer) return initializer.values;
    const node = this.producerOf(tensor);
    if (!node) return undefined;
    if (node.op === 'Cast' || node.op === 'Identity') return this.constantValues(node.inputs[0]!);
    if (node.op !== 'Constant') return undefined;
    const value = [...node.attributes.values()][0];
    if (typeof value === 'number') return [value];
    if (Array.isArray(value)) return value;
    return typeof value === 'object' ? value.values : undefined;
  }

  /** Dimensions of a constant, as far as transposes and dequantization can be followed. */
  constantShape(tensor: string): number[] | undefined {
    const initializer = this.graph.initializers.get(tensor);
    if (initializer) return initializer.dims;
    const node = this.producerOf(tensor);
    if (!node) return undefined;
    if (node.op === 'Constant') {
      const value = node.attributes.get('value');
      return typeof value === 'object' && !Array.isArray(value) ? value.dims : undefined;
    }
    if (node.op === 'Transpose') {
      const dims = this.constantShape(node.inputs[0]!);
      const order = node.attributes.get('perm');
      return Array.isArray(order) ? dims && order.map((axis) => dims[axis]!) : dims?.toReversed();
    }
    const sameShape = ['Cast', 'Identity', 'DequantizeLinear'].includes(node.op);
    return sameShape ? this.constantShape(node.inputs[0]!) : undefined;
  }

  /** Size of a tensor's last axis, from the file or from a weight it is multiplied with. */
  widthOf(tensor: string, depth = 0): number | undefined {
    const stated = this.graph.valueInfo.get(tensor)?.shape?.at(-1);
    if (typeof stated === 'number' && stated > 0) return stated;
    for (const index of this.consumers.get(tensor) ?? []) {
      const node = this.graph.nodes[index]!;
      if (this.weightProductInput(node) === tensor) {
        const weight = factorsOf(node)!.find((name) => name !== tensor)!;
        const width = inputWidth(node, this.constantShape(weight));
        if (width) return width;
      }
      // Gemm and quantized products read the tensor through a reshape or a quantizer, which leave its width alone.
      if (depth < 4 && PASS_THROUGH.has(node.op) && node.op !== 'Transpose') {
        const width = this.widthOf(node.outputs[0]!, depth + 1);
        if (width) return width;
      }
    }
    return undefined;
  }

  elementTypeOf(tensor: string): ElementType | undefined {
    // Up the chain of first inputs until something says; then all of the chain is known.
    const chain: string[] = [];
    let type: ElementType | undefined;
    for (let name: string | undefined = tensor; name; ) {
      if (this.#elementTypes.has(name)) type = this.#elementTypes.get(name);
      else {
        chain.push(name);
        const step: TypeStep = this.#typeStep(name);
        if (!('type' in step)) {
          name = step.like;
          continue;
        }
        type = step.type;
      }
      break;
    }
    for (const name of chain) this.#elementTypes.set(name, type);
    return type;
  }

  #typeStep(tensor: string): TypeStep {
    const stated =
      this.graph.valueInfo.get(tensor)?.elementType ??
      this.graph.initializers.get(tensor)?.elementType;
    if (stated) return { type: stated };
    const node = this.producerOf(tensor);
    if (!node) return { type: undefined };
    if (node.op === 'Cast') return { type: elementTypeOf(intAttribute(node, 'to', 0)) };
    if (node.op === 'Constant') {
      const value = node.attributes.get('value');
      const isTensor = typeof value === 'object' && !Array.isArray(value);
      return { type: isTensor ? value.elementType : undefined };
    }
    if (node.op === 'DequantizeLinear') return { like: node.inputs[1]! };
    if (node.op === 'MatMulIntegerToFloat') return { like: node.inputs[2]! };
    if (node.op === 'Where') return { like: node.inputs[1]! };
    if (node.op === 'GatherBlockQuantized') return { like: node.inputs[2]! };
    if (['MatMulInteger', 'ConvInteger'].includes(node.op)) return { type: 'int32' };
    return node.inputs[0] ? { like: node.inputs[0] } : { type: undefined };
  }

  /** The first look-up of token ids in a constant table, or the input of embedded tokens. */
  #findRoot(): string | undefined {
    const inputs = new Set(this.graph.inputs.map((input) => input.name));
    const embedded = EMBEDDING_INPUTS.find((name) => inputs.has(name));
    if (embedded) return embedded;
    const named = TOKEN_INPUTS.find((name) => inputs.has(name));
    if (!named) return undefined;
    const queue = [named];
    const seen = new Set(queue);
    for (const tensor of queue) {
      for (const index of this.consumers.get(tensor) ?? []) {
        const node = this.graph.nodes[index]!;
        if (SHAPE_ONLY.has(node.op)) continue;
        const [table = '', ids = ''] = node.inputs;
        if (
          node.op.startsWith('Gather') &&
          ids &&
          this.isConstant(table) &&
          !this.isConstant(ids)
        ) {
          return node.outputs[0];
        }
        for (const output of node.outputs) {
          if (output && !seen.has(output)) queue.push(output);
          seen.add(output);
        }
      }
    }
    return undefined;
  }

  #spreadFrom(root: string): void {
    this.activations.add(root);
    for (const node of this.graph.nodes) {
      if (SHAPE_ONLY.has(node.op)) continue;
      for (const name of readsOf(node)) {
        if (!this.activations.has(name)) continue;
        for (const output of node.outputs) if (output) this.activations.add(output);
        break;
      }
    }
  }
}

/** Either the type, or the tensor that has the same one. */
type TypeStep = { type: ElementType | undefined } | { like: string };
