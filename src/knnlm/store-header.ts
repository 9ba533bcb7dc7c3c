/** What a datastore must say of the model that makes its keys. */
import { resolve } from 'node:path';
import type { StoredPairs, StoreHeader } from '../datastore/manifest.ts';
import type { LanguageModel, ModelInfo } from '../model/language-model.ts';
import type { PairReading } from '../model/pair-reading.ts';

export function headerFor(
  { info, tokenizer }: LanguageModel,
  { window, stride, keyDtype }: { window: number; stride: number; keyDtype: 'fp16' | 'fp32' },
): StoreHeader {
  return {
    model: {
      name: portableName(info),
      family: info.family,
      file: info.file,
      contextLength: info.contextLength,
    },
    fingerprint: { ...info.fingerprint },
    key: { name: info.key ?? null, tensor: info.keyTensor, dim: info.keyDim, dtype: keyDtype },
    vocabSize: info.vocabSize,
    bos: tokenizer.bos,
    eos: tokenizer.eos,
    window,
    stride,
    ...(info.pairs && { pairs: toldOf(info.pairs) }),
  };
}

/** What the model was told of pairs, without which it could not be opened again. */
function toldOf({ sourcePrefix, sourceLanguage, targetLanguage }: PairReading): StoredPairs {
  return {
    ...(sourcePrefix !== undefined && { sourcePrefix }),
    ...(sourceLanguage !== undefined && { sourceLanguage }),
    ...(targetLanguage !== undefined && { targetLanguage }),
  };
}

/** A folder is stored as an absolute path, so that the store can be opened from anywhere; a hub id or a bundled name as it is. */
function portableName({ name, folder }: ModelInfo): string {
  return resolve(name) === resolve(folder) ? resolve(folder) : name;
}
