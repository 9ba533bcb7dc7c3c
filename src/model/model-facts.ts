/** Puts together what the JSON files and the graph say of a model, and refuses what does not fit together. */
import { join } from 'node:path';
import { KnnLMError } from '../errors.ts';
import { type BoundaryTokens, findBoundaryTokens } from './boundary-tokens.ts';
import { tokenizerFingerprint } from './fingerprint.ts';
import type { ChosenGraph, InspectRequest } from './inspect-model.ts';
import type { KeyName, ModelInfo } from './language-model.ts';
import { type ModelConfig, readModelConfig } from './model-config.ts';
import type { ModelJson } from './model-files.ts';
import { type PairOptions, type PairReading, readPairs } from './pair-reading.ts';
import type { Vocabulary } from './token-table.ts';
import type { TokenizerKind } from './tokenizer.ts';
import type { RuntimePlan } from './worker-protocol.ts';

/** The input of the last feed-forward network after its norm: best in Table 5 of Khandelwal et al. (2020). */
export const DEFAULT_KEY: KeyName = 'ffn-input';

export interface ModelFacts {
  info: ModelInfo;
  config: ModelConfig;
  boundary: BoundaryTokens;
  tokenizer: { kind: TokenizerKind; size: number };
  /** Tokens before and after a document, as the tokenizer writes them. */
  boundaryTexts: { bos: string; eos: string };
  /** All but where it runs. */
  plan: Omit<RuntimePlan, 'threads' | 'provider' | 'cacheBytes'>;
  /** Of a model made for chat. */
  chatTemplate: string | undefined;
  warnings: string[];
}

export interface FactsRequest {
  /** As the user named the model. */
  name: string;
  request: Pick<InspectRequest, 'folder' | 'key' | 'keyTensor'>;
  graph: ChosenGraph;
  /** What the user says of pairs; an encoder-decoder for many languages needs it. */
  pairs?: PairOptions | undefined;
  /** Only describes the model: what is missing to read pairs is a warning. */
  describing?: boolean;
}

/** Hashes and looks through tokenizer.json, tens of milliseconds: called in a worker. */
export function readModelFacts(
  facts: FactsRequest,
  json: ModelJson,
  table: Vocabulary,
): ModelFacts {
  const { name, request, graph } = facts;
  const { folder } = request;
  const config = readModelConfig(json.config, json.tokenizerConfig);
  checkKind(facts, config);
  const boundary = findBoundaryTokens({
    ...json,
    idOf: (content) => table.idOf(content),
    encoderDecoder: config.isEncoderDecoder,
  });
  const vocabSize = graph.vocabSize ?? config.vocabSize;
  if (vocabSize === undefined) {
    throw new KnnLMError(
      'MODEL_INVALID',
      `Neither the graph nor config.json in ${folder} gives the vocabulary's size. Add "vocab_size" to config.json.`,
    );
  }
  checkVocabulary(folder, table, vocabSize, boundary);
  const keyTensor = graph.keyTensor;
  if (keyTensor === undefined) throw keyNotFound(join(folder, graph.file), request.key, graph);
  // The six keys are as wide as the model. A tensor of the user's own may not be: `loadModel` runs it to see.
  const keyDim = graph.keyDim ?? graph.hiddenWidth ?? config.hiddenSize;
  if (keyDim === undefined) {
    throw new KnnLMError(
      'MODEL_INVALID',
      `Neither the graph nor config.json in ${folder} gives the width of ${keyTensor}. Add "hidden_size" to config.json.`,
    );
  }
  const path = join(folder, graph.file);
  const { bos, eos, stopTokens } = boundary;
  const { pairs, warning } = pairsOf(facts, json, table, boundary);
  const info: ModelInfo = {
    name,
    folder,
    file: graph.file,
    family: config.family,
    dtype: graph.dtype,
    vocabSize,
    keyDim,
    layers: config.layers ?? graph.layers,
    contextLength: config.contextLength,
    key: request.keyTensor === undefined ? request.key : undefined,
    keyTensor,
    bos,
    eos,
    stopTokens: stopTokens.filter((id) => id < vocabSize),
    ...(pairs && { pairs }),
    fingerprint: {
      weights: graph.weights,
      tokenizer: tokenizerFingerprint(json.tokenizerBytes, boundary, pairs),
      dtype: graph.dtype,
      keyTensor,
      provider: 'cpu',
    },
  };
  const { keyValueHeads, headDim, uniformLength } = config;
  const { logitsTensor, onward, encoderPath, dtype } = graph;
  const { contextLength, padToken } = config;
  return {
    info,
    config,
    boundary,
    boundaryTexts: { bos: table.text(bos), eos: table.text(eos) },
    tokenizer: { kind: table.kind, size: table.size },
    plan: {
      path,
      keyTensor,
      onward,
      encoderPath,
      logitsTensor,
      keyDim,
      keyValueHeads,
      headDim,
      uniformLength,
      vocabSize,
      bos,
      pad: padToken,
      contextLength,
      dtype,
    },
    chatTemplate: json.chatTemplate,
    warnings: [...graph.warnings, ...warningsOf(config, table, vocabSize), ...warning],
  };
}

/** Errors: `MODEL_UNSUPPORTED` when config.json and the graph are of different kinds of models. */
function checkKind(
  { request, graph }: FactsRequest,
  { isEncoderDecoder, family }: ModelConfig,
): void {
  if (isEncoderDecoder === (graph.encoderPath !== undefined)) return;
  const path = join(request.folder, graph.file);
  throw new KnnLMError(
    'MODEL_UNSUPPORTED',
    isEncoderDecoder
      ? `config.json says that the model is an encoder-decoder (${family}), but ${path} reads no source. Export it with encoder_model.onnx and decoder_model.onnx: optimum-cli export onnx --task text2text-generation-with-past`
      : `${path} is the decoder of an encoder-decoder, but config.json (${family}) does not say "is_encoder_decoder": true. Use the config.json that belongs to the model.`,
  );
}

/** How an encoder-decoder reads pairs. Errors: those of `readPairs`, unless it is only described. */
function pairsOf(
  { graph, pairs: options = {}, describing }: FactsRequest,
  json: ModelJson,
  table: Vocabulary,
  boundary: BoundaryTokens,
): { pairs?: PairReading; warning: string[] } {
  if (graph.encoderPath === undefined) return { warning: [] };
  const { postProcessor } = table;
  const sources = { ...json, postProcessor, idOf: (text: string) => table.idOf(text), boundary };
  try {
    return { pairs: readPairs(sources, options), warning: [] };
  } catch (error) {
    if (!describing || !(error instanceof KnnLMError)) throw error;
    return { warning: [error.message] };
  }
}

/** A tokenizer with more tokens than the model has rows belongs to another model. */
function checkVocabulary(
  folder: string,
  table: Vocabulary,
  vocabSize: number,
  { bos, eos }: BoundaryTokens,
): void {
  const largest = Math.max(table.textSize - 1, bos, eos);
  if (largest < vocabSize) return;
  throw new KnnLMError(
    'MODEL_INVALID',
    `The tokenizer in ${folder} has token ${largest}, but the model knows ${vocabSize} tokens only. Use the tokenizer.json and config.json that belong to the model.`,
  );
}

/** Models pad their vocabulary, but not to several times the tokenizer's. */
const SUSPICIOUS_PADDING = 2;

function warningsOf(config: ModelConfig, table: Vocabulary, vocabSize: number): string[] {
  const warnings: string[] = [];
  if (table.size * SUSPICIOUS_PADDING < vocabSize) {
    warnings.push(
      `The tokenizer has ${table.size} tokens and the model ${vocabSize}: they may not belong together.`,
    );
  }
  if (!config.contextLengthKnown) {
    warnings.push(`config.json gives no context length; ${config.contextLength} is assumed.`);
  }
  return warnings;
}

function keyNotFound(path: string, key: KeyName, graph: ChosenGraph): KnnLMError {
  const location = graph.keys[key];
  const reason = location.tensor === undefined ? location.reason : '';
  const others = Object.entries(graph.keys).filter(([, other]) => other.tensor !== undefined);
  const found = others.map(([name]) => name).join(', ') || 'none';
  return new KnnLMError(
    'MODEL_UNSUPPORTED',
    `The key ${key} was not found in ${path}: ${reason} Keys found: ${found}; any other tensor can be named with --key-tensor.`,
  );
}
