import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { KnnLMError } from '../../dist/errors.js';
import { loadModel } from '../../dist/model/load-model.js';
import { ModelWorkerClient } from '../../dist/model/model-worker-client.js';
import type {
  KeyName,
  LanguageModel,
  ModelDtype,
  NextToken,
} from '../../src/model/language-model.ts';

const stories = fileURLToPath(new URL('../fixtures/models/stories260K', import.meta.url));

interface Golden {
  window: number;
  stride: number;
  perplexity: { lm: number };
  documents: { tokens: number[]; lm: number[] }[];
  taps: { tokens: number[]; keys: Record<KeyName, number[]> };
}
const golden = (name: string): Golden =>
  JSON.parse(
    readFileSync(new URL(`../fixtures/golden/${name}.golden.json`, import.meta.url), 'utf8'),
  );

const largestDifference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  let largest = 0;
  for (let i = 0; i < a.length; i++) largest = Math.max(largest, Math.abs(a[i]! - b[i]!));
  return largest;
};

describe.each([
  ['stories260K', stories],
  ['wiki-mini-2', 'wiki-mini-2'],
])('the model %s', (name, folder) => {
  const reference = golden(name);
  let model: LanguageModel;
  let document: Int32Array;
  beforeAll(async () => {
    model = await loadModel(folder);
    document = Int32Array.from([model.info.bos, ...reference.documents[0]!.tokens]);
  });
  afterAll(() => model.close());

  it('gives the log-probabilities of PyTorch, window by window', async () => {
    let nll = 0;
    let count = 0;
    for (const { tokens, lm } of reference.documents) {
      const inputs = Int32Array.from([model.info.bos, ...tokens]);
      const targets = Int32Array.from([...tokens, model.info.eos]);
      const starts: number[] = [];
      for (
        let start = 0;
        starts.length === 0 || start - reference.stride + reference.window < inputs.length;
        start += reference.stride
      ) {
        starts.push(start);
      }
      const cut = (ids: Int32Array) =>
        starts.map((start) => ids.slice(start, start + reference.window));
      const scored = await model.score(cut(inputs), cut(targets));
      const logProbs: number[] = [];
      for (let i = 0; i < scored.length; i++) {
        // A target counts in the first window that reaches it.
        logProbs.push(...scored[i]!.logProbs.subarray(logProbs.length - starts[i]!));
      }
      expect(largestDifference(logProbs, lm)).toBeLessThan(1e-4);
      nll -= logProbs.reduce((sum, x) => sum + x, 0);
      count += logProbs.length;
    }
    expect(Math.exp(nll / count) / reference.perplexity.lm).toBeCloseTo(1, 4);
  });

  it('gives the same keys in a batch of one and of many, in the order given', async () => {
    const windows = [64, 60, 5, 64, 1, 33, 62].map((length, i) =>
      document.slice(i * 7, i * 7 + length),
    );
    const together = await model.keys(windows);
    for (let i = 0; i < windows.length; i++) {
      const [alone] = await model.keys([windows[i]!]);
      expect(largestDifference(together[i]!, alone!)).toBeLessThan(1e-5);
    }
  });

  it('gives the keys of the whole graph by the truncated one', async () => {
    const windows = [document.slice(0, 80), document.slice(10, 50)];
    const keys = await model.keys(windows);
    const scored = await model.score(windows, windows);
    for (let i = 0; i < windows.length; i++) {
      expect(largestDifference(keys[i]!, scored[i]!.keys)).toBeLessThan(1e-5);
    }
  });

  it('lets no future token change a key', async () => {
    const d = model.info.keyDim;
    const changed = document.slice(0, 60);
    changed.fill(7, 40);
    const [before] = await model.keys([document.slice(0, 60)]);
    const [after] = await model.keys([changed]);
    expect(largestDifference(before!.subarray(0, 40 * d), after!.subarray(0, 40 * d))).toBeLessThan(
      1e-5,
    );
    expect(largestDifference(before!.subarray(40 * d), after!.subarray(40 * d))).toBeGreaterThan(
      0.1,
    );
  });

  it('decodes step by step to the keys and probabilities of a full pass', async () => {
    const window = document.slice(0, 48);
    const targets = document.slice(1, 49);
    const [full] = await model.score([window], [targets]);
    const decoder = await model.startDecoding();
    const d = model.info.keyDim;
    let position = 0;
    for (const length of [1, 5, 1, 20, 1, 1, 19]) {
      const { key, logProbs } = await decoder.read(window.subarray(position, position + length));
      position += length;
      expect(decoder.position).toBe(position);
      const last = position - 1;
      expect(largestDifference(key, full!.keys.subarray(last * d, position * d))).toBeLessThan(
        1e-4,
      );
      expect(Math.abs(logProbs[targets[last]!]! - full!.logProbs[last]!)).toBeLessThan(1e-4);
      expect(logProbs.length).toBe(model.info.vocabSize);
      expect(logProbs.reduce((sum, x) => sum + Math.exp(x), 0)).toBeCloseTo(1, 5);
    }
    await decoder.close();
  });

  it('hands states over in memory that is used again, where that is asked for', async () => {
    const own = await model.startDecoding();
    const states = [];
    for (const id of document.subarray(0, 8)) states.push(await own.read([id]));
    const isSame = (a: NextToken, b: NextToken): boolean =>
      a.key.every((x, i) => x === b.key[i]) && a.logProbs.every((x, i) => x === b.logProbs[i]);
    for (let round = 0; round < 2; round++) {
      const decoder = await model.startDecoding(undefined, { reuse: true });
      const rooms = new Set<Float32Array>();
      let before: NextToken | undefined;
      for (let i = 0; i < 8; i++) {
        const next = await decoder.read([document[i]!]);
        expect(isSame(next, states[i]!)).toBe(true);
        // What was read before stays while the next is looked at.
        if (before) expect(isSame(before, states[i - 1]!)).toBe(true);
        before = next;
        rooms.add(next.logProbs);
      }
      expect(rooms.size).toBe(2);
      await decoder.close();
    }
    await own.close();
  });

  it('does not write into memory of a decoder that was closed while it read', async () => {
    const closing = await model.startDecoding(undefined, { reuse: true });
    const reading = closing.read(document.subarray(0, 40)).catch(() => {});
    await closing.close();
    // It has the memory that the other had.
    const next = await model.startDecoding(undefined, { reuse: true });
    const state = await next.read(document.subarray(0, 4));
    const { key, logProbs } = { key: state.key.slice(), logProbs: state.logProbs.slice() };
    await reading;
    const own = await model.startDecoding();
    const expected = await own.read(document.subarray(0, 4));
    expect([key, logProbs]).toEqual([expected.key, expected.logProbs]);
    expect([state.key.slice(), state.logProbs.slice()]).toEqual([key, logProbs]);
    await Promise.all([next.close(), own.close()]);
  });

  it('starts anew after a reset, and keeps decoders apart', async () => {
    const one = await model.startDecoding();
    const other = await model.startDecoding();
    const first = await one.read(document.subarray(0, 4));
    await other.read(document.subarray(4, 20));
    one.reset();
    expect(one.position).toBe(0);
    const again = await one.read(document.subarray(0, 4));
    expect(largestDifference(first.logProbs, again.logProbs)).toBe(0);
    await one.close();
    await expect(one.read([1])).rejects.toThrow(KnnLMError);
    await other.close();
  });

  it('encodes documents in a worker as on the spot', async () => {
    const texts = ['Once upon a time', '', 'there was — a “test”.\n\n日本'];
    const encoded = await model.encodeDocuments(texts);
    expect(encoded).toEqual(texts.map((text) => model.tokenizer.encode(text)));
  });

  it('refuses what it cannot read, naming the limit', async () => {
    const { contextLength, vocabSize } = model.info;
    await expect(model.keys([new Int32Array(contextLength + 1)])).rejects.toThrow(
      `1 to ${contextLength} tokens`,
    );
    await expect(model.keys([new Int32Array(0)])).rejects.toThrow('has 0');
    await expect(model.keys([Int32Array.of(vocabSize)])).rejects.toThrow(
      `between 0 and ${vocabSize - 1}`,
    );
    await expect(model.score([Int32Array.of(1, 2)], [Int32Array.of(1)])).rejects.toThrow(
      'one per position',
    );
    const decoder = await model.startDecoding();
    await decoder.read(new Int32Array(contextLength - 1));
    await expect(decoder.read([1, 1])).rejects.toThrow(`at most ${contextLength}`);
    await decoder.close();
  });

  it('stops when told to', async () => {
    const signal = AbortSignal.abort();
    await expect(model.keys([document.slice(0, 9)], { signal })).rejects.toMatchObject({
      code: 'ABORTED',
    });
  });
});

describe('the six keys', () => {
  it.each(Object.keys(golden('stories260K').taps.keys) as KeyName[])(
    '%s is that of PyTorch hooks',
    async (key) => {
      const { taps } = golden('stories260K');
      const model = await loadModel(stories, { key });
      const [keys] = await model.keys([Int32Array.from([model.info.bos, ...taps.tokens])]);
      expect(largestDifference(keys!.subarray(-model.info.keyDim), taps.keys[key])).toBeLessThan(
        1e-4,
      );
      await model.close();
    },
  );

  it.each([
    ['/model/layers.1/post_attention_layernorm/Mul_1_output_0', 64],
    ['/model/layers.4/mlp/Mul_output_0', 172],
  ])('can be replaced by the tensor %s', async (keyTensor, keyDim) => {
    const model = await loadModel(stories, { keyTensor });
    expect(model.info).toMatchObject({ key: undefined, keyTensor, keyDim });
    const [keys] = await model.keys([Int32Array.of(1, 2, 3)]);
    expect(keys!.length).toBe(3 * keyDim);
    await model.close();
  });
});

describe('reduced precision', () => {
  it.each([
    ['fp16', 0.05],
    ['q4', 1],
  ] as [ModelDtype, number][])(
    '%s keys are near those of fp32, decoded and in one pass',
    async (dtype, tolerance) => {
      const exact = await loadModel(stories);
      const model = await loadModel(stories, { dtype });
      expect(model.info.dtype).toBe(dtype);
      expect(model.info.fingerprint.weights).not.toBe(exact.info.fingerprint.weights);
      const window = exact.tokenizer.encode('Once upon a time, there was a little dog.');
      const [want] = await exact.keys([window]);
      const [got] = await model.keys([window]);
      const rms = Math.sqrt(
        want!.reduce((sum, x, i) => sum + (x - got![i]!) ** 2, 0) / want!.length,
      );
      expect(rms).toBeLessThan(tolerance);
      expect(rms).toBeGreaterThan(0);
      const decoder = await model.startDecoding();
      await decoder.read(window.subarray(0, 3));
      const { key, logProbs } = await decoder.read(window.subarray(3));
      const [scored] = await model.score([window], [window]);
      const halfStep = dtype === 'fp16' ? 0.02 : 1e-4;
      expect(largestDifference(key, scored!.keys.subarray(-64))).toBeLessThan(halfStep);
      expect(Math.abs(logProbs[window.at(-1)!]! - scored!.logProbs.at(-1)!)).toBeLessThan(halfStep);
      await exact.close();
      await model.close();
    },
  );
});

describe('a worker that dies', () => {
  const entry = (script: string) => new URL(`data:text/javascript,${encodeURIComponent(script)}`);
  const onMessage = (script: string) =>
    entry(
      `import { parentPort } from 'node:worker_threads'; parentPort.on('message', () => { ${script} });`,
    );

  it.each([
    ['an exit', 'process.exit(3)', /ended unexpectedly with exit code 3/],
    ['an exception', 'throw new Error("broken inside")', /broken inside/],
  ])('by %s fails its requests at once, and those that follow', async (_how, script, message) => {
    const worker = new ModelWorkerClient(onMessage(script));
    const requests = [worker.request('startDecoding', undefined), worker.request('reset', 1)];
    for (const request of requests) await expect(request).rejects.toThrow(message);
    await expect(worker.request('reset', 1)).rejects.toThrow(message);
    await worker.close();
  });

  it('for want of memory says what to do', async () => {
    const worker = new ModelWorkerClient(
      onMessage('const hoard = []; for (;;) hoard.push(new Array(1e5).fill({ ...hoard }));'),
      { maxOldGenerationSizeMb: 16 },
    );
    await expect(worker.request('startDecoding', undefined)).rejects.toMatchObject({
      code: 'IO',
      message: expect.stringMatching(/ran out of memory. Use fewer workers/),
    });
    await worker.close();
  });
});

describe('ending', () => {
  it('closing fails what is under way and what comes after, and hangs nothing', async () => {
    const model = await loadModel(stories);
    const pending = model.keys(Array.from({ length: 64 }, () => new Int32Array(512).fill(5)));
    const encoding = model.encodeDocuments(['a']);
    const failures = Promise.all([
      expect(pending).rejects.toMatchObject({ code: 'ABORTED' }),
      expect(encoding).rejects.toMatchObject({ code: 'ABORTED' }),
    ]);
    await model.close();
    await failures;
    await model.close();
    await expect(model.keys([Int32Array.of(1)])).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(model.startDecoding()).rejects.toMatchObject({ code: 'ABORTED' });
  });
});
