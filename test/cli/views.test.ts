import { describe, expect, it } from 'vitest';
import { Screen } from '../../dist/cli/screen.js';
import { buildSummary, nearlyFull, planText } from '../../dist/cli/views/build.js';
import { nextSteps, shellWord } from '../../dist/cli/views/demo.js';
import { evaluationText } from '../../dist/cli/views/evaluation.js';
import { infoText } from '../../dist/cli/views/info.js';
import { searchText } from '../../dist/cli/views/search.js';

const colors = new Screen({ color: false }).colors;

const score = (perplexity: number) => ({
  nll: Math.log(perplexity) * 100,
  perplexity,
  wordPerplexity: perplexity * 2,
  bitsPerByte: perplexity / 32,
});

it('an evaluation shows the model alone, the mixture and the change', () => {
  const text = evaluationText(
    {
      documents: 1,
      tokens: 100,
      bytes: 400,
      words: 60,
      lm: score(32),
      knnlm: score(16),
      interval: { lm: [30, 34], knnlm: [15, 17], ratio: [0.45, 0.56] },
      helped: 0.7,
      hurt: 0.3,
      settings: { k: 1024, lambda: 0.7, temperature: 8 },
      searched: 1,
      seconds: 2,
      retrievalSeconds: 0.5,
    },
    colors,
  );
  expect(text).toBe(`\
                      perplexity       per word  bits per byte
  model alone              32.00          64.00         1.0000
  with the memory          16.00          32.00         0.5000
                          −50.0%         −50.0%         −50.0%

  perplexity  −55.0% to −44.0% with the memory (95% interval)
  tokens      70.0% more probable with the memory, 30.0% less
  text        1 document, 100 tokens, 60 words, 400 B
  settings    k 1024, λ 0.7, T 8
  time        2.0 s, 0.50 s of it searching; 50 tokens/s`);
});

describe('a build', () => {
  const plan = {
    documents: 12,
    bytesOfText: 48_000,
    entries: 12_000,
    diskBytes: 6_200_000,
    freeDiskBytes: 9e9,
    seconds: 3,
  };

  it('says before the work what it will take', () => {
    expect(planText(plan, colors)).toBe(`\
  to read  12 documents, 48.0 kB of text, about 12,000 entries
  disk     6.2 MB needed, 9.0 GB free
  time     about 3.0 s`);
    expect(planText({ ...plan, indexBytes: 6_400_000 }, colors)).toContain(`\
  disk     6.2 MB needed, 6.4 MB more while it is indexed, 9.0 GB free
  time     about 3.0 s, and the index`);
  });

  it('warns when the disk will be nearly full, and leaves refusing to the library', () => {
    expect(nearlyFull(plan)).toBe(false);
    expect(nearlyFull({ ...plan, freeDiskBytes: 6_500_000 })).toBe(true);
    expect(nearlyFull({ ...plan, freeDiskBytes: 6_000_000 })).toBe(false);
  });

  it('ends with what was written', () => {
    const result = {
      documents: 12,
      entries: 12_000,
      seconds: 2,
      entriesPerSecond: 6000,
      bytes: 6_200_000,
      skipped: 1,
      resumedEntries: 500,
      tuningSeconds: 3,
      settings: { k: 1024, lambda: 0.7, temperature: 8, gate: true as const },
    };
    expect(buildSummary(result, 'a.knn', colors)).toBe(`\
  store      a.knn, 6.2 MB
  documents  12, 1 skipped
  entries    12,000, 500 of them from an earlier run
  settings   k 1024, gate
  time       2.0 s, 6,000 entries/s; 3.0 s tuning on its own documents`);
  });
});

it('a search shows the candidates, then each neighbor with its document and text', () => {
  const text = searchText(
    {
      query: 'The patient\nwas given',
      neighbors: [
        {
          entry: 7,
          document: 'a\x1b[31m.txt',
          position: 1234,
          distance: 12.345,
          weight: 0.05,
          target: ' a',
          targetId: 3,
          before: 'ments, which is why the client is given',
          after: ' daily dose of it.',
        },
      ],
      candidates: [{ text: ' a', id: 3, p: 0.5, pLm: 0.1, pKnn: 0.9 }],
      settings: { k: 8, lambda: 0.5, temperature: 1 },
    },
    colors,
    60,
  );
  expect(text).toBe(`\
The patient↵was given [?]

next token   mixture     model    memory
" a"            0.50      0.10      0.90  ━━━━━━━━━━━━

the 1 nearest stored contexts (k 8, λ 0.5, T 1)
  1  a␛[31m.txt at 1,234 · distance 12.35 · weight 0.050
     …which is why the client is given [a] daily dose of it.`);
});

it('info shows what a store holds and where its bytes are', () => {
  const text = infoText(
    {
      path: '/tmp/a.knn',
      documents: 2,
      entries: 100,
      deleted: 0,
      keyDim: 256,
      model: {
        name: 'wiki-mini',
        family: 'llama',
        file: 'onnx/model.onnx',
        dtype: 'fp32',
        key: 'ffn-input',
        keyTensor: '/model/norm',
        keyDtype: 'fp16',
        weights: 'ab',
        tokenizer: 'cd',
        provider: 'cpu',
      },
      index: { kind: 'flat' },
      hasKeys: true,
      remote: false,
      bytes: {
        keys: 70_000,
        values: 25_000,
        documents: 3_000,
        checksums: 1_500,
        manifest: 500,
        index: 0,
        total: 100_000,
      },
      bytesPerEntry: 1000,
      settings: { k: 1024, lambda: 0.25, temperature: 1, source: 'default' },
      window: 512,
      stride: 256,
      complete: false,
    },
    colors,
  );
  expect(text).toBe(`\
/tmp/a.knn  (unfinished: run the same build again)
  documents  2
  entries    100
  model      wiki-mini (llama, fp32)
  key        ffn-input (/model/norm), 256 wide, fp16
  windows    512 positions, one every 256
  index      flat
  settings   k 1024, λ 0.25, T 1 (the paper's defaults)
  size       100 kB, 1000 bytes an entry
    keys        70.0 kB  70.0% ━━━━━━━━━━━━━━━━━
    values      25.0 kB  25.0% ━━━━━━
    documents    3.0 kB   3.0% ━
    checksums    1.5 kB   1.5% ━
    manifest      500 B   0.5% ━`);
});

it('the demo quotes a path that a shell would split', () => {
  expect(shellWord('/tmp/a b')).toBe("'/tmp/a b'");
  expect(shellWord("it's")).toBe("'it'\\''s'");
  expect(nextSteps('/tmp/a', colors)).toContain('knnlm info /tmp/a');
});
