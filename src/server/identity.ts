/** By which names a server, its model and its state are known. */
import { createHash, randomUUID } from 'node:crypto';
import type { KnnLM } from '../knnlm/knnlm.ts';

/** `cmpl-` and 24 letters that no other has. */
export function newId(prefix: string): string {
  return `${prefix}-${randomUUID().replaceAll('-', '').slice(0, 24)}`;
}

/** Another when the model or what is stored has changed, so that equal requests may be answered otherwise. */
export function systemFingerprint({ model, stores }: KnnLM): string {
  const hash = createHash('sha256').update(model.info.fingerprint.weights);
  for (const { name, datastore } of stores) {
    const { entries, settings } = datastore;
    hash.update(JSON.stringify([name, entries, datastore.excludedRanges(), settings]));
  }
  return `fp_${hash.digest('hex').slice(0, 12)}`;
}
