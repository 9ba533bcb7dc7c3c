/** Steps of several texts at once, where the model gives the same states in them as one by one: tried on a few tokens. */
import type { NextToken, ReadStates } from '../language-model.ts';
import type { ModelGraphs } from '../model-graphs.ts';
import { checkSteps } from '../self-check.ts';
import { CacheBlocks } from './cache-blocks.ts';
import { freshState, type GraphDecoder } from './graph-decoder.ts';
import { Sequence } from './sequence.ts';
import { StepReader } from './step-reader.ts';

/** Undefined for a model whose steps are read one by one: its graph cannot share them, or would give other states. */
export async function openStepReader(
  graphs: ModelGraphs,
  decoder: GraphDecoder,
): Promise<StepReader | undefined> {
  for (const isSplit of [true, false]) {
    // A graph that onnxruntime can run in one form only is served in that form.
    const reader = await StepReader.open(graphs, isSplit).catch(() => undefined);
    if (!reader) continue;
    const agrees = await checkSteps(
      (texts, steps) => readAlone(decoder, texts, steps),
      (texts, steps) => readTogether(decoder, reader, texts, steps),
      graphs.plan,
    ).catch(() => false);
    if (agrees) return reader;
    await reader.close();
  }
  return undefined;
}

/** Texts of which the last `steps` tokens are read one by one. */
async function readAlone(
  decoder: GraphDecoder,
  texts: readonly Int32Array[],
  steps: number,
): Promise<NextToken[]> {
  const states: NextToken[] = [];
  for (const text of texts) {
    const { state, unread } = await begun(decoder, text, steps);
    let last!: ReadStates;
    for (const token of unread) last = await decoder.read(state, [token]);
    states.push({ key: last.keys, logProbs: last.logProbs });
  }
  return states;
}

async function readTogether(
  decoder: GraphDecoder,
  reader: StepReader,
  texts: readonly Int32Array[],
  steps: number,
): Promise<NextToken[]> {
  const blocks = new CacheBlocks(reader);
  const sequences: Sequence[] = [];
  for (const text of texts) {
    const sequence = await begun(decoder, text, steps);
    blocks.joining(sequence).make();
    sequences.push(sequence);
  }
  const { block } = sequences[0]!;
  const rows = [...sequences.keys()];
  let states = await reader.step(block!, rows);
  for (let step = 1; step < steps; step++) states = await reader.step(block!, rows);
  return states.map(({ keys, logProbs }) => ({ key: keys, logProbs }));
}

/** Has read all but the last tokens. */
async function begun(decoder: GraphDecoder, text: Int32Array, left: number): Promise<Sequence> {
  const sequence = new Sequence(freshState());
  await decoder.read(sequence.state, text.subarray(0, -left));
  sequence.unread = [...text.subarray(-left)];
  return sequence;
}
