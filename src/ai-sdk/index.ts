/** `knnlm/ai-sdk`: an open `KnnLM` as a language model of the AI SDK. */
export { languageModel } from './language-model.ts';
export type { KnnLMOptions } from './options.ts';
