/**
 * Puts nodes in an order in which each comes after those it reads. ONNX asks for that order, onnxruntime does not insist,
 * and some converters (float16 casts appended at the end) do not keep it.
 */
import { type OnnxNode, readsOf } from './graph.ts';
import type { ProtobufFile } from './protobuf-file.ts';

/** @param given names of inputs and initializers */
export function sortNodes(nodes: OnnxNode[], given: Set<string>, file: ProtobufFile): OnnxNode[] {
  const producer = new Map<string, OnnxNode>();
  for (const node of nodes) {
    for (const output of node.outputs) {
      if (!output) continue;
      if (producer.has(output)) throw file.invalid(`two nodes make the tensor ${output}`);
      producer.set(output, node);
    }
  }
  for (const node of nodes) {
    for (const name of node.inputs) {
      if (name && !producer.has(name) && !given.has(name)) {
        throw file.invalid(`node ${node.name || node.op} reads ${name}, which nothing makes`);
      }
    }
  }
  return depthFirst(nodes, producer, file);
}

/** Post-order walk with its own stack: chains of thousands of nodes would overflow the call stack. Keeps a valid order. */
function depthFirst(
  nodes: OnnxNode[],
  producer: Map<string, OnnxNode>,
  file: ProtobufFile,
): OnnxNode[] {
  const sorted: OnnxNode[] = [];
  const state = new Map<OnnxNode, 'open' | 'done'>();
  const stack: { node: OnnxNode; reads: Iterator<string> }[] = [];
  const open = (node: OnnxNode): void => {
    state.set(node, 'open');
    stack.push({ node, reads: readsOf(node)[Symbol.iterator]() });
  };
  for (const start of nodes) {
    if (state.has(start)) continue;
    open(start);
    while (stack.length > 0) {
      const { node, reads } = stack.at(-1)!;
      const next = reads.next();
      if (next.done) {
        stack.pop();
        state.set(node, 'done');
        sorted.push(node);
        continue;
      }
      const maker = producer.get(next.value);
      if (!maker || state.get(maker) === 'done') continue;
      if (state.get(maker) === 'open') {
        throw file.invalid(`node ${maker.name || maker.op} depends on its own output`);
      }
      open(maker);
    }
  }
  return sorted;
}
