/**
 * The parts of a graph in file order; of a merged export, those of one of its two decoders.
 *
 * Older exports keep two decoders behind one `If` (`decoder_model_merged.onnx`): one for a text's start and one that reads on from
 * a cache, over common weights. Each is a whole decoder once its branch takes the place of the `If`.
 */
import type { Field, ProtobufFile } from './protobuf-file.ts';

export type Branch = 'then_branch' | 'else_branch';

/** Chooses the branch: true for the decoder that reads on from a cache. */
export const CACHE_SWITCH = 'use_cache_branch';

/**
 * Fields of the GraphProto: nodes (1), initializers (5), inputs (11), outputs (12), value information (13), and the rest.
 * A model whose graph comes in several pieces is one graph.
 */
export function* graphParts(
  file: ProtobufFile,
  branch: Branch | undefined,
): Generator<Field, void, undefined> {
  let inner: Field | undefined;
  for (const field of file.fields(0, file.size)) {
    if (field.number !== 7) continue;
    for (const part of file.message(field)) {
      const found = branch && part.number === 1 ? branchOf(file, part, branch) : undefined;
      inner ??= found;
      // The branch has outputs of its own, of the same names.
      if (!found && !(branch && part.number === 12)) yield part;
    }
  }
  if (!inner) return;
  for (const part of file.message(inner)) {
    // Its name and description would be second ones.
    if (part.number !== 2 && part.number !== 10) yield part;
  }
}

/** The graph behind one branch of a node that chooses by `use_cache_branch`. */
function branchOf(file: ProtobufFile, node: Field, branch: Branch): Field | undefined {
  let switched = false;
  let inner: Field | undefined;
  for (const part of file.message(node)) {
    if (part.number === 1 && file.string(part) === CACHE_SWITCH) switched = true;
    if (part.number !== 5) continue;
    let name = '';
    let graph: Field | undefined;
    for (const attribute of file.message(part)) {
      if (attribute.number === 1) name = file.string(attribute);
      else if (attribute.number === 6) graph = attribute;
    }
    if (name === branch) inner = graph;
  }
  return switched ? inner : undefined;
}
