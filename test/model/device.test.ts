import { describe, expect, it } from 'vitest';
import { compareProvider } from '../../dist/model/compare-provider.js';
import { chooseProvider } from '../../dist/model/device.js';
import { loadModel } from '../../dist/model/load-model.js';
import { fixture } from '../model-onnx/support.ts';

const MODEL = fixture('models/stories260K');

describe('the provider chosen', () => {
  it('is the CPU without trying anything, unless another is asked for', async () => {
    const compare = () => expect.unreachable();
    expect(await chooseProvider('cpu', compare)).toEqual({ provider: 'cpu', notes: [] });
  });

  it('is the one asked for when it gives the keys of the CPU', async () => {
    const choice = await chooseProvider('webgpu', async () => 1e-4);
    expect(choice).toEqual({ provider: 'webgpu', notes: [] });
  });

  it.each([
    ['it gives other keys', async () => 0.05, /^webgpu gives other keys than the CPU \(by 5\.0%\)/],
    [
      'it gives numbers that are none',
      async () => Number.POSITIVE_INFINITY,
      /^webgpu gives other keys/,
    ],
    [
      'it is not there',
      async () => {
        throw new Error('No adapter.\nStack');
      },
      /^webgpu cannot be used here: No adapter\.$/,
    ],
  ])('is the CPU when %s, and a note says so', async (_, compare, note) => {
    const { provider, notes } = await chooseProvider('webgpu', compare);
    expect(provider).toBe('cpu');
    expect(notes).toEqual([expect.stringMatching(note), 'The model runs on the CPU.']);
  });

  it('is the first that works when left to choose', async () => {
    const tried: string[] = [];
    const { provider, notes } = await chooseProvider('auto', async (candidate) => {
      tried.push(candidate);
      if (tried.length === 1) throw new Error('Not here.');
      return 0;
    });
    expect(provider).toBe(tried[1]);
    expect(notes).toEqual([`${tried[0]} cannot be used here: Not here.`]);
  });
});

it('finds no difference between the CPU and itself', async () => {
  const plan = {
    path: fixture('models/stories260K/onnx/model.onnx'),
    keyTensor: '/model/norm/Mul_1_output_0',
    onward: undefined,
    encoderPath: undefined,
    logitsTensor: 'logits',
    keyDim: 64,
    provider: 'cpu',
    threads: 1,
    keyValueHeads: undefined,
    headDim: undefined,
    vocabSize: 512,
    bos: 1,
    pad: undefined,
    contextLength: 512,
    dtype: 'fp32',
    uniformLength: undefined,
    cacheBytes: 2 ** 20,
  } as const;
  expect(await compareProvider(plan)).toBe(0);
});

it('gives the same keys wherever it runs, and writes down where', async () => {
  const warnings: string[] = [];
  const onWarning = (message: string) => warnings.push(message);
  const there = await loadModel(MODEL, { device: 'cuda', workers: 1, onWarning });
  const here = await loadModel(MODEL, { workers: 1 });
  // A machine without CUDA says so and uses the CPU.
  const { provider } = there.info.fingerprint;
  expect(provider).toBe(warnings.length > 0 ? 'cpu' : 'cuda');
  const window = Int32Array.of(1, 403, 407, 261, 378);
  const [[a], [b]] = await Promise.all([there.keys([window]), here.keys([window])]);
  for (let i = 0; i < a!.length; i++) expect(a![i]).toBeCloseTo(b![i]!, provider === 'cpu' ? 6 : 1);
  await Promise.all([there.close(), here.close()]);
});

it('refuses a device that there is not', async () => {
  await expect(loadModel(MODEL, { device: 'tpu' as 'cpu' })).rejects.toThrow(
    /device must be one of cpu, webgpu, cuda, coreml, dml, auto, but is "tpu"/,
  );
});
