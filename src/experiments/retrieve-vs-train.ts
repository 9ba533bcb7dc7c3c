/** Table 3: a model trained on little text, with a store of more, against a model trained on all of it. */
import { KnnLMError } from '../errors.ts';
import type { KnnLM } from '../knnlm/knnlm.ts';
import { loadModel } from '../model/load-model.ts';
import { lowerClaim } from './claims.ts';
import { coverage, describeSetup, resultRow } from './rows.ts';
import type { Experiment } from './types.ts';

export const retrieveVsTrain: Experiment = {
  name: 'retrieve-vs-train',
  title: 'A larger store against more training',
  weight: 2.5,
  unready({ modelSmall, modelLarge }) {
    if (modelSmall && modelLarge) return undefined;
    return (
      'It compares two models of one shape and tokenizer, the smaller one trained on a tenth of the text of the other. Make them: ' +
      'training/run.py --preset wiki-micro --tokenizer-from models/wiki-mini-2 --text TEXT --out more, and the same with ' +
      '--one-in 10 --out less. Then give both: --model-small FOLDER --model-large FOLDER --trained TEXT.'
    );
  },
  async run(lab) {
    const [smallName, largeName] = [lab.options.modelSmall!, lab.options.modelLarge!];
    const window = Math.min(await contextOf(smallName), await contextOf(largeName), 1024);
    const small = await lab.memory({ text: 'trained', model: smallName, window });
    const large = await lab.memory({ text: 'trained', model: largeName, window });
    sameTokenizer(small, large);
    const smallFit = await lab.fit({ memory: small, text: 'trained' });
    const largeFit = await lab.fit({ memory: large, text: 'trained' });
    const { entries } = small.info;
    const rows = [
      resultRow('trained on less', smallFit.lm),
      resultRow('trained on less, with a store', smallFit.mixture, {
        ...smallFit.settings,
        entries,
      }),
      resultRow('trained on more', largeFit.lm),
      resultRow('trained on more, with a store', largeFit.mixture, {
        ...largeFit.settings,
        entries,
      }),
    ];
    return {
      question: 'Is it better to train on more text, or to store it?',
      setup: `Less: ${smallName}; more: ${largeName}. ${await describeSetup(lab, 'trained', small)}`,
      paper: {
        where: 'Table 3',
        setting: 'Wikipedia, test',
        rows: [
          ['trained on 100M tokens', '19.59'],
          ['trained on 100M, store of 3B', '13.73'],
          ['trained on 3B', '15.17'],
        ],
      },
      rows,
      claims: [
        lowerClaim({
          statement: 'A model trained on more text predicts better.',
          better: largeFit.lm,
          worse: smallFit.lm,
          names: 'more over less',
        }),
        lowerClaim({
          statement: 'A model trained on less text with a store beats one trained on more.',
          better: smallFit.mixture,
          worse: largeFit.lm,
          names: 'less with a store over more',
          because: coverage(smallFit, entries),
        }),
      ],
      charts: [{ kind: 'range', name: 'retrieve-vs-train', title: 'Perplexity', rows }],
    };
  },
};

async function contextOf(name: string): Promise<number> {
  const model = await loadModel(name);
  try {
    return model.info.contextLength;
  } finally {
    await model.close();
  }
}

/** Perplexities per token can only be compared when the tokens are the same. */
function sameTokenizer(a: KnnLM, b: KnnLM): void {
  const [x, y] = [a.model.info, b.model.info];
  if (x.fingerprint.tokenizer === y.fingerprint.tokenizer) return;
  throw new KnnLMError(
    'MODEL_MISMATCH',
    `${x.name} and ${y.name} have different tokenizers, so their perplexities cannot be compared. Train both with one tokenizer.`,
  );
}
