// Queries from a text: the keys that a model makes of positions spread over it, with the true next tokens.
import { DEFAULT_MODEL, loadModel, readDocuments } from '../../dist/index.js';

/**
 * @param {string} text a file of documents the store has not read
 * @param {object} options
 * @param {string} [options.model] folder or name; default the embedded one
 * @param {number} options.count queries wanted
 * @param {number} [options.maxTokens] positions read at most
 * @returns queries (q, d), targets (q), logProbs (q) of the model alone, units (q): numbers of
 *   documents, or of windows where documents are few
 */
export async function textQueries(text, { model: name, count, maxTokens = 60_000 }) {
  const model = await loadModel(name ?? DEFAULT_MODEL);
  try {
    const { contextLength, keyDim } = model.info;
    const texts = [];
    for await (const { text: body } of readDocuments([text])) texts.push(body);
    // The same share of every document, in whole windows.
    const windows = Math.max(1, Math.round(maxTokens / texts.length / contextLength));
    const rows = [];
    for (const [document, body] of texts.entries()) {
      const [ids] = await model.encodeDocuments([body]);
      const inputs = Int32Array.from([model.tokenizer.bos, ...ids]);
      const targets = Int32Array.from([...ids, model.tokenizer.eos]);
      for (let w = 0; w < windows && w * contextLength < inputs.length; w++) {
        const [at, end] = [w * contextLength, (w + 1) * contextLength];
        const wanted = targets.slice(at, end);
        const [scored] = await model.score([inputs.slice(at, end)], [wanted]);
        for (let i = 0; i < wanted.length; i++) {
          const key = scored.keys.slice(i * keyDim, (i + 1) * keyDim);
          // Few documents cannot be resampled: their windows are, then.
          const unit = texts.length < 16 ? document * windows + w : document;
          rows.push({ key, target: wanted[i], logProb: scored.logProbs[i], unit });
        }
      }
    }
    const picks = Array.from(
      { length: Math.min(count, rows.length) },
      (_, i) => rows[Math.floor((i * rows.length) / Math.min(count, rows.length))],
    );
    const queries = new Float32Array(picks.length * keyDim);
    picks.forEach(({ key }, i) => {
      queries.set(key, i * keyDim);
    });
    return {
      dim: keyDim,
      count: picks.length,
      queries,
      targets: Uint32Array.from(picks, ({ target }) => target),
      logProbs: Float64Array.from(picks, ({ logProb }) => logProb),
      units: picks.map((pick) => pick.unit),
    };
  } finally {
    await model.close();
  }
}
