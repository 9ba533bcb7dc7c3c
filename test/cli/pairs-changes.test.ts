/** Pairs from the command line: add, eval, tune, and what is refused. */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { file, folder, json, knnlm, model, pairs, store, withStore } from './pairs-support.ts';

withStore();

it('adds pairs of two columns, and evaluates pairs of JSON Lines', async () => {
  const more = file(
    'more.tsv',
    pairs.slice(40, 60).map(({ source, target }) => `${source}\t${target}`),
  );
  expect(await json('add', store, more)).toMatchObject({ documents: 20 });
  expect(await json('info', store)).toMatchObject({ documents: 60, pairs: {} });
  const { stdout } = await knnlm(['info', store]);
  expect(stdout).toContain('60 pairs of a source and its target');
  const held = join(model, 'pairs/medicine.jsonl');
  const evaluation = await json('eval', store, held);
  expect(evaluation).toMatchObject({ documents: 30, settings: { k: 16, lambda: 0.6 } });
  expect(evaluation.knnlm.perplexity).toBeLessThan(evaluation.lm.perplexity);
});

it('finds settings on held-out pairs, and translates with them', async () => {
  const held = join(model, 'pairs/medicine.jsonl');
  const tuned = await json('tune', store, held, '--max-tokens', '300');
  expect(tuned).toMatchObject({ saved: true });
  expect(tuned.perplexity.knnlm).toBeLessThan(tuned.perplexity.lm);
  const { settings } = await json('info', store);
  expect(settings).toMatchObject({ source: 'tuned', lambda: tuned.settings.lambda });
});

it('refuses in one line what the store, the model or the file is not made for', async () => {
  const texts = file('text.txt', ['Once upon a time.']);
  const one = file('one.tsv', ['a\tb']);
  const out = ['--out', join(folder, 'refused.knn')];
  const refused: [parameters: string[], why: RegExp][] = [
    [['generate', store, 'the dog'], /holds pairs .* knnlm translate/],
    [['search', store, 'the dog'], /holds pairs .* knnlm translate/],
    [['serve', store, '--port', '0'], /holds pairs/],
    [['build', texts, ...out, '--model', model], /build --pairs/],
    [
      ['build', '--pairs', texts, ...out, '--model', model],
      /text\.txt is of a kind that cannot be read. Give pairs/,
    ],
    [['build', '--pairs', one, ...out], /wiki-mini-2 is a causal model/],
    [
      ['build', '--pairs', one, ...out, '--model', model, '--target-language', 'klingon'],
      /no token for the target language "klingon"/,
    ],
    [['translate', store, 'the dog', '--beams', '65'], /1 to 64, not 65/],
  ];
  for (const [parameters, why] of refused) {
    const { code, stderr, stdout } = await knnlm(parameters);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr.trimEnd()).not.toContain('\n');
    expect(stderr).toMatch(why);
  }
});
