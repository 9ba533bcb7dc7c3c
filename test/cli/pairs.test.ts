/** Pairs from the command line: build, translate, model. */
import { expect, it } from 'vitest';
import { json, knnlm, model, pairs, store, withStore } from './pairs-support.ts';

withStore();

it('translates an argument with its sources, and a file line by line', async () => {
  const { source, target } = pairs[0]!;
  const knn = ['--lambda', '0.9', '--knn-temperature', '0.1'];
  const [translation, shown, lines, many] = await Promise.all([
    json('translate', store, source, ...knn),
    knnlm(['translate', store, source, ...knn, '--sources', '--beams', '1']),
    knnlm(['translate', store, ...knn], `${source}\n\n${pairs[1]!.source}\n`),
    knnlm(['translate', store, '-', ...knn, '--json'], `${source}\n\n${source}`),
  ]);
  expect(translation).toMatchObject({ source, text: target, finishReason: 'stop', beams: 4 });
  expect(translation.tokens[0].neighbors[0]).toMatchObject({ sourceText: source });
  expect(shown.stdout).toContain(`    ${source}`);
  expect(lines).toMatchObject({ code: 0, stdout: `${target}\n\n${pairs[1]!.target}\n` });
  const texts = many.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).text);
  expect(texts).toEqual([target, target]);
});

it('describes an encoder-decoder', async () => {
  const description = await json('model', model);
  expect(description).toMatchObject({
    encoder: 'onnx/encoder_model.onnx',
    info: { family: 'marian', layers: 2, pairs: { sourceEnd: [0], targetStart: [], beams: 4 } },
    boundary: { bos: { text: '<pad>', rule: 'decoder_start_token_id of config.json' } },
    warnings: [],
  });
  const { stdout } = await knnlm(['model', model]);
  expect(stdout).toContain('reads pairs of a source and its target');
});
