/** A text as the model reads it. */
import type { LanguageModel } from '../model/language-model.ts';

/** Inputs BOS, t1 … tn and targets t1 … tn, EOS of a text, (n + 1) each. */
export async function readTokens(
  text: string,
  model: LanguageModel,
): Promise<{ inputs: Int32Array; targets: Int32Array }> {
  const [ids] = await model.encodeDocuments([text]);
  const inputs = new Int32Array(ids!.length + 1);
  const targets = new Int32Array(ids!.length + 1);
  inputs[0] = model.tokenizer.bos;
  inputs.set(ids!, 1);
  targets.set(ids!);
  targets[ids!.length] = model.tokenizer.eos;
  return { inputs, targets };
}
