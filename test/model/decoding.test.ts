import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { CacheBlocks } from '../../dist/model/decoding/cache-blocks.js';
import { freshState, GraphDecoder } from '../../dist/model/decoding/graph-decoder.js';
import { Sequence } from '../../dist/model/decoding/sequence.js';
import { StepReader } from '../../dist/model/decoding/step-reader.js';
import { loadModel } from '../../dist/model/load-model.js';
import { ModelGraphs } from '../../dist/model/model-graphs.js';
import { ModelRuntime } from '../../dist/model/model-runtime.js';
import { loadOnnxRuntime } from '../../dist/onnxruntime.js';
import type { NextToken } from '../../src/model/language-model.ts';
import { maxDifference } from '../model-onnx/support.ts';

const folder = fileURLToPath(new URL('../fixtures/models/stories260K', import.meta.url));
const plan = {
  path: `${folder}/onnx/model.onnx`,
  keyTensor: '/model/layers.4/post_attention_layernorm/Mul_1_output_0',
  onward: undefined,
  encoderPath: undefined,
  pad: undefined,
  logitsTensor: 'logits',
  keyDim: 64,
  provider: 'cpu',
  threads: 1,
  keyValueHeads: 4,
  headDim: 8,
  cacheBytes: 2 ** 30,
  uniformLength: undefined as number | undefined,
  vocabSize: 512,
  bos: 1,
  contextLength: 512,
  dtype: 'fp32',
} as const;
/** Keys are of size 1, log-probabilities of size 10; products of other shapes round otherwise. */
const ROUNDING = 1e-4;
/** 5 layers, keys and values, 4 heads of 8 numbers. */
const BYTES_PER_POSITION = 5 * 2 * 4 * 8 * 4;

const opened: ModelRuntime[] = [];
async function runtime(changes: object = {}): Promise<ModelRuntime> {
  const one = await ModelRuntime.open({ ...plan, ...changes });
  opened.push(one);
  return one;
}
afterAll(() => Promise.all(opened.map((one) => one.close())));

/** Texts of 1 to `longest` tokens. */
const texts = (count: number, longest = 60): Int32Array[] =>
  Array.from({ length: count }, (_, t) =>
    Int32Array.from({ length: 1 + ((t * 37) % longest) }, (_, i) =>
      i === 0 ? 1 : 3 + ((i * (t + 7)) % 500),
    ),
  );

const best = (logProbs: Float32Array): number =>
  logProbs.reduce((most, x, i) => (x > logProbs[most]! ? i : most), 0);

interface Course {
  ids: number[];
  states: NextToken[];
}

/** Goes on greedily with a text. @param pause called before each step */
async function goOn(
  model: ModelRuntime,
  text: Int32Array,
  steps: number,
  pause: () => Promise<void> = async () => {},
): Promise<Course> {
  const decoder = await model.startDecoding();
  const states = [await model.read(decoder, text)];
  const ids: number[] = [];
  while (ids.length < steps) {
    await pause();
    ids.push(best(states.at(-1)!.logProbs));
    states.push(await model.read(decoder, Int32Array.of(ids.at(-1)!)));
  }
  model.endDecoding(decoder);
  return { ids, states };
}

let alone: ModelRuntime | undefined;
const known = new Map<string, Course>();

/** Courses of texts read one after another. */
async function oneByOne(all: readonly Int32Array[], steps: number): Promise<Course[]> {
  const courses: Course[] = [];
  for (const text of all) {
    let course = known.get(text.join());
    if (!course || course.ids.length < steps) {
      alone ??= await runtime();
      course = await goOn(alone, text, steps);
      known.set(text.join(), course);
    }
    courses.push({ ids: course.ids.slice(0, steps), states: course.states.slice(0, steps + 1) });
  }
  return courses;
}

function expectSame(found: readonly Course[], expected: readonly Course[]): void {
  for (const [t, { ids, states }] of found.entries()) {
    expect(ids, `text ${t}`).toEqual(expected[t]!.ids);
    for (const [s, { key, logProbs }] of states.entries()) {
      const want = expected[t]!.states[s]!;
      expect(maxDifference(key, want.key), `key ${s} of text ${t}`).toBeLessThan(ROUNDING);
      expect(maxDifference(logProbs, want.logProbs)).toBeLessThan(ROUNDING);
    }
  }
}

afterEach(() => {
  // Whoever has ended has left nothing behind.
  for (const one of opened) expect(one.cacheBytes).toBe(0);
});

describe('texts decoded at the same time', () => {
  it('come to the states of each alone, more of them than share a run', async () => {
    const all = texts(40, 30);
    const model = await runtime();
    const found = await Promise.all(all.map((text) => goOn(model, text, 4)));
    expect(await model.sharesSteps()).toBe(true);
    expectSame(found, await oneByOne(all, 4));
  });

  it('may begin and end whenever they like', async () => {
    const all = texts(8, 90);
    const expected = await oneByOne(all, 20);
    const model = await runtime();
    const turn = fc.record({
      text: fc.nat(all.length - 1),
      steps: fc.integer({ min: 0, max: 20 }),
      // Turns of the event loop before it begins, and before every step.
      delay: fc.nat(40),
      pause: fc.nat(3),
    });
    const ticks = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
    };
    await fc.assert(
      fc.asyncProperty(fc.array(turn, { minLength: 2, maxLength: 10 }), async (turns) => {
        const found = await Promise.all(
          turns.map(async ({ text, steps, delay, pause }) => {
            await ticks(delay);
            return goOn(model, all[text]!, steps, () => ticks(pause));
          }),
        );
        const wanted = turns.map(({ text, steps }) => ({
          ids: expected[text]!.ids.slice(0, steps),
          states: expected[text]!.states.slice(0, steps + 1),
        }));
        expectSame(found, wanted);
      }),
      { numRuns: 6 },
    );
  });

  it('share no more than attention sees: what has grown longer goes on by itself', async () => {
    const all = texts(4, 30);
    const model = await runtime({ uniformLength: 32 });
    const found = await Promise.all(all.map((text) => goOn(model, text, 20)));
    expect(await model.sharesSteps()).toBe(true);
    expectSame(found, await oneByOne(all, 20));
  });

  it('fill the context to its last position', async () => {
    const all = [500, 502, 510].map((length, t) =>
      Int32Array.from({ length }, (_, i) => 3 + ((i * 7 + t) % 99)),
    );
    const model = await runtime();
    const found = await Promise.all(all.map((text) => goOn(model, text, 2)));
    expectSame(found, await oneByOne(all, 2));
  });

  it('are read to the same bits as ever when there is only one', async () => {
    const text = texts(3)[2]!;
    const [alone] = await oneByOne([text], 8);
    const model = await runtime();
    await Promise.all(texts(3).map((other) => goOn(model, other, 5)));
    const again = await goOn(model, text, 8);
    for (const [s, { key, logProbs }] of again.states.entries()) {
      expect(maxDifference(key, alone!.states[s]!.key)).toBe(0);
      expect(maxDifference(logProbs, alone!.states[s]!.logProbs)).toBe(0);
    }
  });

  it('wait for each other, so that steps are whole', async () => {
    const all = texts(9, 30);
    const model = await runtime();
    await model.sharesSteps();
    const step = vi.spyOn(StepReader.prototype, 'step');
    const pause = (): Promise<void> => sleep(2 + Math.random() * 6);
    const found = await Promise.all(all.map((text) => goOn(model, text, 25, pause)));
    const shares = step.mock.calls.map(([block, rows]) => rows.length / block.sequences.length);
    step.mockRestore();
    expectSame(found, await oneByOne(all, 25));
    const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
    expect(mean).toBeGreaterThan(0.7);
  });

  it('do not wait for one that has stopped asking', async () => {
    const all = texts(3, 30);
    const model = await runtime();
    await model.sharesSteps();
    let resume = (): void => {};
    const stopped = new Promise<void>((resolve) => {
      resume = resolve;
    });
    let steps = 0;
    const stops = (): Promise<void> => (++steps < 8 ? sleep(2) : stopped);
    const paused = goOn(model, all[0]!, 12, stops);
    const others = all.slice(1).map((text) => goOn(model, text, 40, () => sleep(2)));
    const found = await Promise.all(others);
    resume();
    const [first, ...rest] = await oneByOne(all, 40);
    const cut = { ids: first!.ids.slice(0, 12), states: first!.states.slice(0, 13) };
    expectSame([await paused, ...found], [cut, ...rest]);
  });

  it('may be asked for the state after each token, and begin anew, in the order they are told to', async () => {
    const [text, ...others] = texts(5, 200).map((one) => Int32Array.of(...one, 5, 6, 7, 8));
    const [expected] = await oneByOne([text!], 0);
    const model = await runtime();
    const courses = Promise.all(others.map((other) => goOn(model, other, 20)));
    const decoder = await model.startDecoding();
    const first = model.read(decoder, text!.slice(0, 2));
    const all = await model.readAll(decoder, text!.slice(2));
    await first;
    const pending = model.read(decoder, Int32Array.of(9));
    await Promise.resolve();
    model.resetDecoder(decoder);
    const whole = await model.read(decoder, text!);
    await pending;
    const { key, logProbs } = expected!.states[0]!;
    expect(all.logProbs.length).toBe((text!.length - 2) * 512);
    expect(maxDifference(all.keys.slice(-64), key)).toBeLessThan(ROUNDING);
    expect(maxDifference(all.logProbs.slice(-512), logProbs)).toBeLessThan(ROUNDING);
    expect(maxDifference(whole.key, key)).toBeLessThan(ROUNDING);
    model.endDecoding(decoder);
    expectSame(await courses, await oneByOne(others, 20));
  });

  it('may be asked for the key after each token with probabilities after the last, beside others', async () => {
    const [text, ...others] = texts(5, 200).map((one) => Int32Array.of(...one, 5, 6, 7, 8));
    const model = await runtime();
    const courses = Promise.all(others.map((other) => goOn(model, other, 20)));
    const [decoder, second] = [await model.startDecoding(), await model.startDecoding()];
    const all = await model.readAll(decoder, text!);
    const keys = await model.readAll(second, text!, 'keys');
    expect(keys.keys.length).toBe(all.keys.length);
    expect(maxDifference(keys.keys, all.keys)).toBeLessThan(ROUNDING);
    expect(keys.logProbs.length).toBe(512);
    expect(maxDifference(keys.logProbs, all.logProbs.slice(-512))).toBeLessThan(ROUNDING);
    for (const id of [decoder, second]) model.endDecoding(id);
    await courses;
  });
});

describe('a text that is given up', () => {
  it('frees its cache at once, and what was still asked of it fails', async () => {
    const model = await runtime();
    const others = texts(6);
    const courses = Promise.all(others.map((other) => goOn(model, other, 12)));
    const decoder = await model.startDecoding();
    await model.read(decoder, texts(7)[6]!);
    const held = model.cacheBytes;
    expect(held).toBeGreaterThan(texts(7)[6]!.length * BYTES_PER_POSITION);
    const pending = [1, 2].map((token) => model.read(decoder, Int32Array.of(token)));
    model.endDecoding(decoder);
    const outcomes = await Promise.allSettled(pending);
    // The first may have been under way.
    expect(outcomes[1]).toMatchObject({
      status: 'rejected',
      reason: { code: 'INVALID_ARGUMENT', message: 'This decoder was closed.' },
    });
    await expect(model.read(decoder, Int32Array.of(1))).rejects.toThrow('closed');
    expectSame(await courses, await oneByOne(others, 12));
    expect(model.cacheBytes).toBe(0);
  });

  it('leaves those who shared its runs alone', async () => {
    const model = await runtime();
    const all = texts(8);
    const courses = Promise.all(all.map((text) => goOn(model, text, 12)));
    for (let i = 0; i < 8; i++) {
      // Others come and go in the middle of it.
      const brief = await model.startDecoding();
      await model.read(brief, all[i]!);
      await model.read(brief, Int32Array.of(4));
      void model.read(brief, Int32Array.of(4)).catch(() => {});
      model.endDecoding(brief);
    }
    expectSame(await courses, await oneByOne(all, 12));
  });
});

describe('the memory of all caches', () => {
  const watch = async (model: ModelRuntime, work: Promise<unknown>): Promise<number> => {
    let most = 0;
    let done = false;
    void work.finally(() => (done = true));
    while (!done) {
      most = Math.max(most, model.cacheBytes);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return most;
  };

  it.each([40, 150, 400])(
    'stays below %i positions, and all texts come to their end',
    async (positions) => {
      const cacheBytes = positions * BYTES_PER_POSITION;
      const all = texts(8, 90);
      const model = await runtime({ cacheBytes });
      const work = Promise.all(all.map((text) => goOn(model, text, 12)));
      const most = await watch(model, work);
      expectSame(await work, await oneByOne(all, 12));
      // One text alone may have what it needs.
      const longest = Math.max(...all.map(({ length }) => length)) + 12;
      expect(most).toBeLessThanOrEqual(Math.max(cacheBytes, longest * BYTES_PER_POSITION));
      expect(most).toBeGreaterThan(cacheBytes / 2);
    },
  );

  it('is taken from those that nobody asks anything of, who are read again when somebody does', async () => {
    const [idle, busy] = texts(3).slice(1);
    const model = await runtime({ cacheBytes: 70 * BYTES_PER_POSITION });
    const decoder = await model.startDecoding();
    await model.read(decoder, idle!);
    const started = performance.now();
    const course = await goOn(model, busy!, 30);
    expect(performance.now() - started).toBeGreaterThan(900);
    const after = await model.read(decoder, Int32Array.of(7));
    const [expected] = await oneByOne([Int32Array.of(...idle!, 7)], 0);
    expect(maxDifference(after.key, expected!.states[0]!.key)).toBeLessThan(ROUNDING);
    model.endDecoding(decoder);
    expectSame([course], await oneByOne([busy!], 30));
  });
});

const wikiMini = fileURLToPath(new URL('../../models/wiki-mini', import.meta.url));

describe('attention that reads the cache where it lies', () => {
  it.each([
    ['heads that share keys', plan],
    [
      'heads with keys of their own',
      {
        ...plan,
        path: `${wikiMini}/onnx/model.onnx`,
        keyTensor: '/model/layers.5/post_attention_layernorm/Mul_1_output_0',
        keyDim: 256,
        headDim: 64,
        vocabSize: 8192,
        bos: 0,
      },
    ],
  ])('gives the states of attention over the joined cache: %s', async (_, of) => {
    const graphs = new ModelGraphs(of, await loadOnnxRuntime());
    const decoder = new GraphDecoder(graphs);
    const courses: NextToken[][] = [];
    for (const isSplit of [true, false]) {
      const reader = await StepReader.open(graphs, isSplit);
      const blocks = new CacheBlocks(reader!);
      const sequences: Sequence[] = [];
      for (const text of [texts(3)[1]!, texts(3)[2]!, Int32Array.of(1)]) {
        const sequence = new Sequence(freshState());
        await decoder.read(sequence.state, text);
        blocks.joining(sequence).make();
        sequences.push(sequence);
      }
      const { block } = sequences[0]!;
      for (let step = 0; step < 4; step++) {
        for (const [t, { unread }] of sequences.entries()) unread.push(5 + 3 * t + step);
        const states = await reader!.step(block!, [0, 1, 2]);
        courses.push(states.map(({ keys, logProbs }) => ({ key: keys, logProbs })));
      }
    }
    for (let step = 0; step < 4; step++) {
      for (const [t, { key, logProbs }] of courses[step]!.entries()) {
        const joined = courses[4 + step]![t]!;
        expect(maxDifference(key, joined.key)).toBeLessThan(ROUNDING);
        expect(maxDifference(logProbs, joined.logProbs)).toBeLessThan(ROUNDING);
      }
    }
    await graphs.close();
  });
});

it('a loaded model serves many decoders the same way', async () => {
  const model = await loadModel(folder, { cacheBytes: 2 ** 20 });
  const tokens = texts(10);
  const read = async (text: Int32Array): Promise<NextToken[]> => {
    const decoder = await model.startDecoding();
    const states = [await decoder.read(text)];
    for (let i = 0; i < 10; i++) states.push(await decoder.read([best(states.at(-1)!.logProbs)]));
    await decoder.close();
    return states;
  };
  const together = await Promise.all(tokens.map(read));
  for (const [t, text] of tokens.entries()) {
    for (const [s, { key }] of (await read(text)).entries()) {
      expect(maxDifference(key, together[t]![s]!.key)).toBeLessThan(ROUNDING);
    }
  }
  await model.close();
  await expect(loadModel(folder, { cacheBytes: 0 })).rejects.toThrow(
    'cacheBytes must be a whole number above 0, but is 0.',
  );
});
