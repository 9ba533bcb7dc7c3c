/**
 * What a model folder holds: its JSON files, and its graphs by name. Laid out as the Hugging Face hub lays out ONNX exports:
 * config.json, tokenizer.json, generation_config.json, tokenizer_config.json, onnx/model[_dtype].onnx (or a graph at the root).
 */
import { readFileSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ioError, KnnLMError } from '../errors.ts';
import { configuredTemplate } from './chat-template.ts';
import type { ModelDtype } from './language-model.ts';
import type { TokenizerJson } from './token-table.ts';

/** Files beside the graph. The last two may be absent. */
export const JSON_FILES = [
  'config.json',
  'tokenizer.json',
  'generation_config.json',
  'tokenizer_config.json',
] as const;

/** A model made for chat may have its template in a file of its own. */
export const TEMPLATE_FILE = 'chat_template.jinja';

export interface ModelJson {
  config: Record<string, unknown>;
  /** tokenizer.json, unparsed. */
  tokenizerBytes: Buffer;
  generationConfig: Record<string, unknown>;
  tokenizerConfig: Record<string, unknown>;
  chatTemplate?: string | undefined;
}

/** A graph file and the dtype its name claims. The graph itself has the last word. */
export interface GraphFile {
  /** Relative to the folder, with `/`. */
  file: string;
  dtype: ModelDtype;
  /** Of a decoder that may be an encoder-decoder's: the encoder beside it. */
  encoder?: string;
  /** Of a decoder for a text's start: the one that reads on from its cache. */
  onward?: string;
}

/** Errors: `MODEL_INVALID` for the first of config.json and tokenizer.json that is not there. */
export async function requireJson(folder: string): Promise<void> {
  for (const name of ['config.json', 'tokenizer.json']) {
    const found = await stat(join(folder, name)).catch(() => undefined);
    if (found === undefined) throw noSuchFile(folder, name);
  }
}

const noSuchFile = (folder: string, name: string): KnnLMError =>
  new KnnLMError(
    'MODEL_INVALID',
    `The model folder ${folder} has no ${name}. Download it from the model's hub page into this folder.`,
  );

/** tokenizer.json alone, at once. */
export function readTokenizerJson(folder: string): TokenizerJson {
  const path = join(folder, 'tokenizer.json');
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (cause) {
    throw ioError('read', path, cause);
  }
  return parseTokenizer(folder, bytes);
}

/** Errors: `MODEL_INVALID` */
export const parseTokenizer = (folder: string, bytes: Buffer): TokenizerJson =>
  parse(folder, 'tokenizer.json', bytes) as unknown as TokenizerJson;

export async function readModelJson(folder: string): Promise<ModelJson> {
  const [config, tokenizer, generationConfig, tokenizerConfig] = await Promise.all(
    JSON_FILES.map((name) => readOptional(join(folder, name))),
  );
  const template = await readOptional(join(folder, TEMPLATE_FILE));
  const missing = config === undefined ? 'config.json' : tokenizer ? undefined : 'tokenizer.json';
  if (missing !== undefined) throw noSuchFile(folder, missing);
  const parsedConfig = parse(folder, 'tokenizer_config.json', tokenizerConfig ?? '{}');
  return {
    config: parse(folder, 'config.json', config!),
    tokenizerBytes: tokenizer!,
    generationConfig: parse(folder, 'generation_config.json', generationConfig ?? '{}'),
    tokenizerConfig: parsedConfig,
    chatTemplate: template?.toString() ?? configuredTemplate(parsedConfig),
  };
}

async function readOptional(path: string): Promise<Buffer | undefined> {
  try {
    return await readFile(path);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw ioError('read', path, cause);
  }
}

function parse(folder: string, name: string, bytes: Buffer | string): Record<string, unknown> {
  let value: unknown;
  let reason = 'it is not a JSON object';
  try {
    value = JSON.parse(bytes.toString());
  } catch (cause) {
    reason = (cause as Error).message;
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw unreadableJson(folder, name, reason);
  }
  return value as Record<string, unknown>;
}

export const unreadableJson = (folder: string, name: string, reason: string): KnnLMError =>
  new KnnLMError(
    'MODEL_INVALID',
    `${join(folder, name)} cannot be read: ${reason}. Download the file again.`,
  );

/** Default order: exact first. int8 comes last and is refused unless its activations are not quantized on the fly. */
const DTYPES: readonly ModelDtype[] = ['fp32', 'fp16', 'q4', 'q4f16', 'bnb4', 'int8'];
const DTYPE_OF_SUFFIX: Record<string, ModelDtype> = {
  '': 'fp32',
  fp16: 'fp16',
  q4: 'q4',
  q4f16: 'q4f16',
  bnb4: 'bnb4',
  int8: 'int8',
  uint8: 'int8',
  quantized: 'int8',
};
/** Exports by the name of the file's stem, best first. `decoder_with_past_model` alone cannot read a text's start. */
const STEMS = ['model', 'decoder_model', 'decoder_model_merged'];
const GRAPH_NAME =
  /^((?:onnx\/)?)(model|decoder_model|decoder_model_merged)((?:_(?:fp16|q4|q4f16|bnb4|int8|uint8|quantized))?)\.onnx$/;

/** The graphs among a folder's files, best first. A lone graph with any other name is taken too. */
export function rankGraphs(files: readonly string[]): GraphFile[] {
  const graphs: (GraphFile & { rank: number })[] = [];
  for (const file of files) {
    const match = GRAPH_NAME.exec(file);
    if (match === null) continue;
    const [, folder, stem, suffix] = match as unknown as [string, string, string, string];
    const dtype = DTYPE_OF_SUFFIX[suffix.slice(1)]!;
    const beside = stem === 'model' ? {} : filesBeside(files, folder, stem, suffix);
    // dtype decides, then the stem, then onnx/ before the root; a decoder that cannot read on comes last of its dtype.
    const rank =
      DTYPES.indexOf(dtype) * 100 +
      (stem === 'decoder_model' && !beside.onward ? STEMS.length : STEMS.indexOf(stem)) * 10 +
      (folder ? 0 : 1) +
      (suffix === '_uint8' || suffix === '_quantized' ? 2 : 0);
    graphs.push({ file, dtype, ...beside, rank });
  }
  if (graphs.length === 0) {
    const other = files.filter((file) => file.endsWith('.onnx'));
    if (other.length === 1) return [{ file: other[0]!, dtype: 'fp32' }];
  }
  graphs.sort((a, b) => a.rank - b.rank);
  return graphs.map(({ rank: _, ...graph }) => graph);
}

/** What belongs to a decoder: encoders come in another number format only where there is none of the decoder's. */
function filesBeside(
  files: readonly string[],
  folder: string,
  stem: string,
  suffix: string,
): Pick<GraphFile, 'encoder' | 'onward'> {
  const encoders = files.filter(
    (file) => file.startsWith(`${folder}encoder_model`) && file.endsWith('.onnx'),
  );
  const own = [`${folder}encoder_model${suffix}.onnx`, `${folder}encoder_model.onnx`];
  const encoder = own.find((file) => encoders.includes(file)) ?? encoders.sort()[0];
  const onward = `${folder}decoder_with_past_model${suffix}.onnx`;
  return {
    ...(encoder !== undefined && { encoder }),
    ...(stem === 'decoder_model' && files.includes(onward) && { onward }),
  };
}

export async function listGraphs(folder: string): Promise<GraphFile[]> {
  const files: string[] = [];
  for (const [sub, prefix] of [
    ['', ''],
    ['onnx', 'onnx/'],
  ] as const) {
    try {
      for (const name of await readdir(join(folder, sub))) files.push(prefix + name);
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code;
      if (sub === '' || (code !== 'ENOENT' && code !== 'ENOTDIR')) {
        throw ioError('list', join(folder, sub), cause);
      }
    }
  }
  const graphs = rankGraphs(files);
  if (graphs.length > 0) return graphs;
  const found = files.some((file) => /\.(safetensors|bin|gguf)$/.test(file))
    ? 'It holds PyTorch, safetensors or GGUF weights only. '
    : '';
  throw new KnnLMError(
    'MODEL_INVALID',
    `The model folder ${folder} has no ONNX graph such as onnx/model.onnx. ${found}Export it: optimum-cli export onnx --model <model> ${folder}`,
  );
}

/** Version of the package, for the user agent of downloads. */
export function packageVersion(): string {
  const path = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version;
}
