import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { KnnLMError } from '../../dist/errors.js';
import { ModelRuntime } from '../../dist/model/model-runtime.js';
import { ModelWorkerClient } from '../../dist/model/model-worker-client.js';
import { describeGraph } from '../../dist/model/onnx/describe-graph.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { checkCache, checkStates, type ReadProbe } from '../../dist/model/self-check.js';
import { openFixture, openRuntime } from '../model-onnx/hub-fixture.ts';
import { encodeModel, fixture } from '../model-onnx/support.ts';

const temporary = mkdtempSync(join(tmpdir(), 'knnlm-check-'));
afterAll(() => rmSync(temporary, { recursive: true }));
const model = {
  vocabSize: 50,
  bos: 1,
  pad: undefined,
  encoderPath: undefined,
  contextLength: 64,
  dtype: 'fp32',
  provider: 'cpu',
  uniformLength: undefined,
  cacheBytes: 2 ** 20,
} as const;

/** A state of two numbers for each position of each window. */
const states =
  (state: (window: Int32Array, position: number, windows: number) => number): ReadProbe =>
  async (windows) =>
    windows.map((window) => [
      Float32Array.from({ length: 2 * window.length }, (_, i) =>
        i % 2 === 0 ? 1 : state(window, i >> 1, windows.length),
      ),
    ]);
const sum = (window: Int32Array, end: number): number =>
  window.subarray(0, end).reduce((total, id) => total + id / 50, 0);

describe('states of a probe', () => {
  it('pass when each depends on the tokens up to its own and nothing else', async () => {
    const causal = states((window, position) => sum(window, position + 1));
    expect(await checkStates(causal, model)).toBeUndefined();
    expect(await checkStates(causal, { ...model, contextLength: 2 })).toBeUndefined();
  });

  it.each([
    ['a token changes states before it', (w: Int32Array) => sum(w, w.length)],
    ['the key is the same whatever the text', (_: Int32Array, at: number) => at],
    [
      'beside another gives other states than alone',
      (w: Int32Array, at: number, count: number) => sum(w, at + 1) + count / 10,
    ],
    ['infinite or none at all', (w: Int32Array, at: number) => 1 / (w[at]! - w[3]!)],
  ])('fail when %s', async (problem, state) => {
    expect(await checkStates(states(state), model)).toContain(problem);
  });

  it('fail when decoding from the cache is another thing than reading at once', async () => {
    const read = (forget: boolean) => async (parts: readonly Int32Array[]) => {
      const key = Float32Array.of(1, sum(parts.at(-1)!, parts.at(-1)!.length));
      if (!forget) key[1] = parts.reduce((total, part) => total + sum(part, part.length), 0);
      return { key, logProbs: key };
    };
    expect(await checkCache(read(false), model)).toBeUndefined();
    expect(await checkCache(read(true), model)).toContain('from its attention cache');
  });
});

describe('a real model is refused', () => {
  const check = async (name: string, session: 'keys' | 'score' | 'decode'): Promise<string> => {
    const runtime = await openRuntime(openFixture(name, temporary));
    const error = await runtime.prepare(session).catch((cause) => cause);
    await runtime.close();
    expect(error).toBeInstanceOf(KnnLMError);
    expect(error.code).toBe('MODEL_UNSUPPORTED');
    return error.message;
  };

  it.each(['llama.int8', 'gpt2.int8', 'gemma3.int8'])(
    'when it quantizes activations over the whole run: %s',
    async (name) => {
      expect(await check(name, 'keys')).toMatch(/changes states before it|beside another/);
      expect(await check(name, 'score')).toMatch(/changes states before it|beside another/);
    },
  );

  it('when the two decoders of a merged export do not fit together', async () => {
    expect(await check('gemma3.merged', 'decode')).toContain('attention cache');
  });

  it('when onnxruntime has no operator for it here, and says which', async () => {
    expect(await check('qwen3.genai-fp16', 'keys')).toMatch(/cannot run it .*GroupQueryAttention/);
    expect(await check('gemma2.genai-fp32', 'keys')).toMatch(/cannot run it .*KV cache capacity/);
  });

  it('when its attention is bidirectional', async () => {
    const path = join(temporary, 'bidirectional.onnx');
    const values = (length: number): number[] => Array.from({ length }, (_, i) => Math.sin(i));
    const bytes = encodeModel({
      nodes: [
        { op: 'Gather', inputs: ['table', 'input_ids'], output: 'embedded' },
        { op: 'ReduceMean', inputs: ['embedded'], output: 'mean', attributes: { axes: [1] } },
        { op: 'Add', inputs: ['embedded', 'mean'], output: 'state' },
        { op: 'MatMul', inputs: ['state', 'head'], output: 'logits' },
      ],
      weights: {
        table: { dims: [50, 4], values: values(200) },
        head: { dims: [4, 50], values: values(200) },
      },
    });
    writeFileSync(path, bytes);
    const plan = { path, keyTensor: 'state', onward: undefined, logitsTensor: 'logits' };
    const shape = { keyDim: 4, threads: 1, keyValueHeads: undefined, headDim: undefined };
    const runtime = await ModelRuntime.open({ ...model, ...plan, ...shape });
    await expect(runtime.keys([Int32Array.of(1, 2)])).rejects.toThrow(
      /bidirectional\.onnx with the key state failed a check: a token changes states before it \(by \d+%\)/,
    );
    await runtime.close();
  });
});

it('refuses a graph with a loop that nothing bounds, without running it', () => {
  const path = join(temporary, 'endless.onnx');
  const nodes = [
    { op: 'Gather', inputs: ['table', 'input_ids'], output: 'embedded' },
    { op: 'Loop', inputs: ['', 'condition', 'embedded'], output: 'looped' },
    { op: 'MatMul', inputs: ['looped', 'table'], output: 'logits' },
  ];
  const weights = {
    table: { dims: [2, 2], values: [1, 2, 3, 4] },
    condition: { dims: [], values: [1] },
  };
  writeFileSync(path, encodeModel({ nodes, weights }));
  expect(describeGraph(readGraph(path)).problems).toEqual([
    expect.stringContaining('a loop without a bound'),
  ]);
});

it('gives up on a model that does not get through a dozen tokens, and frees its worker', async () => {
  const worker = new ModelWorkerClient();
  const path = fixture('models/stories260K/onnx/model.onnx');
  const plan = { path, keyTensor: '/model/norm/Mul_1_output_0', onward: undefined };
  const shape = { keyDim: 64, threads: 1, keyValueHeads: undefined, headDim: undefined };
  await worker.request('open', { ...model, ...plan, ...shape, logitsTensor: 'logits' });
  await expect(worker.prepare('keys', 0)).rejects.toThrow(/a dozen tokens within 0 seconds/);
  await expect(worker.prepare('score')).rejects.toThrow(/a dozen tokens/);
  await worker.close();
});
