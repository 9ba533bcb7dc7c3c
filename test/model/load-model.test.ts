import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describeModel } from '../../dist/model/describe-model.js';
import { loadModel } from '../../dist/model/load-model.js';
import type { LoadModelOptions } from '../../src/model/language-model.ts';

const stories = fileURLToPath(new URL('../fixtures/models/stories260K', import.meta.url));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'knnlm-model-'));
  cpSync(stories, folder, { recursive: true });
});
afterEach(() => rmSync(folder, { recursive: true }));

const edit = (name: string, change: (json: Record<string, unknown>) => void) => {
  const json = JSON.parse(readFileSync(join(folder, name), 'utf8'));
  change(json);
  writeFileSync(join(folder, name), JSON.stringify(json));
};
const onlyGraph = (name: string) => {
  rmSync(join(folder, 'onnx'), { recursive: true });
  mkdirSync(join(folder, 'onnx'));
  if (name) copyFileSync(join(stories, 'onnx', name), join(folder, 'onnx', name));
};
const failure = (options?: LoadModelOptions) =>
  loadModel(folder, options).then(
    async (model) => {
      await model.close();
      throw new Error('The model was opened.');
    },
    (error: Error & { code?: string }) => error,
  );

describe('opening a folder that is not right says what is wrong in one line', () => {
  it.each([
    [
      'no config.json',
      () => rmSync(join(folder, 'config.json')),
      'MODEL_INVALID',
      /has no config.json. Download/,
    ],
    [
      'no tokenizer.json',
      () => rmSync(join(folder, 'tokenizer.json')),
      'MODEL_INVALID',
      /has no tokenizer.json/,
    ],
    [
      'broken JSON',
      () => writeFileSync(join(folder, 'config.json'), '{"a":'),
      'MODEL_INVALID',
      /config.json cannot be read/,
    ],
    [
      'JSON that is no object',
      () => writeFileSync(join(folder, 'tokenizer.json'), '[1]'),
      'MODEL_INVALID',
      /not a JSON object/,
    ],
    [
      'a tokenizer without vocabulary',
      () =>
        edit('tokenizer.json', (t) => {
          t.model = {};
        }),
      'MODEL_INVALID',
      /model.vocab/,
    ],
    [
      'a tokenizer of an unknown kind',
      () =>
        edit('tokenizer.json', (t) => {
          t.pre_tokenizer = { type: 'Guess' };
        }),
      'MODEL_UNSUPPORTED',
      /Guess/,
    ],
    ['no graph', () => onlyGraph(''), 'MODEL_INVALID', /no ONNX graph such as onnx\/model.onnx/],
    [
      'an empty graph',
      () => writeFileSync(join(folder, 'onnx/model.onnx'), ''),
      'MODEL_',
      /model.onnx/,
    ],
    [
      'a graph that is none',
      () =>
        writeFileSync(
          join(folder, 'onnx/model.onnx'),
          'version https://git-lfs.github.com/spec/v1',
        ),
      'MODEL_',
      /model.onnx/,
    ],
    [
      'a graph cut short',
      () => truncateSync(join(folder, 'onnx/model.onnx'), 900_000),
      'MODEL_',
      /model.onnx/,
    ],
    [
      'a tokenizer of another model',
      () =>
        copyFileSync(
          new URL('../../models/wiki-mini/tokenizer.json', import.meta.url),
          join(folder, 'tokenizer.json'),
        ),
      'MODEL_INVALID',
      /has token 8191, but the model knows 512 tokens/,
    ],
    [
      'no start and no end token',
      () => {
        for (const name of ['config.json', 'generation_config.json', 'tokenizer_config.json'])
          writeFileSync(join(folder, name), '{"model_type":"llama","max_position_embeddings":512}');
      },
      'MODEL_INVALID',
      /neither a start nor an end token/,
    ],
    [
      'an encoder-decoder',
      () =>
        edit('config.json', (c) => {
          c.is_encoder_decoder = true;
        }),
      'MODEL_UNSUPPORTED',
      /encoder-decoder/,
    ],
    [
      'no model_type',
      () =>
        edit('config.json', (c) => {
          delete c.model_type;
        }),
      'MODEL_INVALID',
      /model_type/,
    ],
  ] as const)('%s', async (_what, spoil, code, message) => {
    for (const name of ['model_fp16', 'model_q4', 'model_int8'])
      rmSync(join(folder, `onnx/${name}.onnx`), { force: true });
    spoil();
    const error = await failure();
    expect(error.name, error.stack).toBe('KnnLMError');
    expect(error.code).toContain(code);
    expect(error.message).toMatch(message);
    expect(error.message).not.toContain('\n');
  });

  it('dynamic int8, with the reason and what to use instead', async () => {
    onlyGraph('model_int8.onnx');
    const error = await failure();
    expect(error.message).toMatch(
      /model_int8.onnx cannot be used: .*later tokens change earlier keys.*Use fp32, fp16, q4/,
    );
  });

  it('a dtype that is not there', async () => {
    expect((await failure({ dtype: 'bnb4' })).message).toMatch(
      /has no bnb4 graph. Usable dtypes there: fp32, fp16, q4/,
    );
  });

  it('a tensor that is not there', async () => {
    expect((await failure({ keyTensor: '/nowhere' })).message).toMatch(
      /no tensor "\/nowhere". Tensors that serve as keys: /,
    );
  });

  it('a tensor that is no key', async () => {
    const keyTensor = '/model/layers.0/self_attn/Softmax_output_0';
    expect((await failure({ keyTensor })).message).toMatch(
      /has shape \(1, 8, 12, 12\) for 1 × 12 tokens; one vector per token was expected/,
    );
  });

  it('a model that is nowhere', async () => {
    await expect(loadModel('no-such-model')).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      message: expect.stringMatching(
        /neither a folder nor a hub id .* nor bundled \(wiki-mini, wiki-mini-2\)/,
      ),
    });
  });

  it('numbers that cannot be', async () => {
    expect((await failure({ workers: 0 })).message).toMatch(
      /workers must be a whole number above 0, but is 0/,
    );
    expect((await failure({ threads: 1.5 })).message).toMatch(/threads must be/);
  });
});

describe('describing a model', () => {
  it('lists graphs, keys, tokens and rules', async () => {
    const description = await describeModel(folder);
    expect(
      description.graphs.map((graph) => [graph.file, graph.dtype, graph.problems.length]),
    ).toEqual([
      ['onnx/model.onnx', 'fp32', 0],
      ['onnx/model_fp16.onnx', 'fp16', 0],
      ['onnx/model_q4.onnx', 'q4', 0],
      ['onnx/model_int8.onnx', 'int8', 1],
    ]);
    expect(description.info).toMatchObject({
      family: 'llama',
      layers: 5,
      keyDim: 64,
      vocabSize: 512,
      contextLength: 512,
    });
    expect(Object.values(description.keys!).every((key) => key.tensor !== undefined)).toBe(true);
    expect(description.boundary).toEqual({
      bos: { id: 1, text: '<s>', rule: 'bos_token_id of config.json' },
      eos: { id: 2, text: '</s>', rule: 'eos_token_id of config.json' },
    });
    expect(description.tokenizer).toEqual({ kind: 'sentencepiece', size: 512 });
    expect(description.capabilities).toEqual({ cache: true, score: true });
    expect(description.warnings).toEqual([]);
  });

  it('agrees with the model that opens', async () => {
    const { info } = await describeModel(folder, { dtype: 'q4', key: 'output' });
    const model = await loadModel(folder, { dtype: 'q4', key: 'output' });
    expect(model.info).toEqual(info);
    await model.close();
  });

  it('tells what is wrong instead of failing when no graph can be used', async () => {
    onlyGraph('model_int8.onnx');
    const description = await describeModel(folder);
    expect(description.info).toBeUndefined();
    expect(description.graphs[0]!.problems).toHaveLength(1);
  });

  it('warns of a tokenizer much smaller than the model', async () => {
    edit('tokenizer.json', (t) => {
      const model = t.model as { vocab: Record<string, number>; merges: unknown[] };
      model.vocab = Object.fromEntries(Object.entries(model.vocab).filter(([, id]) => id < 200));
      model.merges = [];
    });
    const { warnings } = await describeModel(folder);
    expect(warnings.join()).toMatch(/tokenizer has 200 tokens and the model 512/);
  });
});
