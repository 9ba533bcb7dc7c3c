/** Table 5 and figure 3: which inner state of the last block makes the best key. */
import { KEY_NAMES, type KeyName } from '../model/language-model.ts';
import { lowerClaim } from './claims.ts';
import type { Fit } from './fit.ts';
import { describeSetup, resultRow } from './rows.ts';
import type { Experiment } from './types.ts';

const BEST: KeyName = 'ffn-input';

export const keys: Experiment = {
  name: 'keys',
  title: 'Which state is the key',
  weight: 6,
  async run(lab) {
    const fits = new Map<KeyName, Fit>();
    let entries = 0;
    for (const key of KEY_NAMES) {
      const choice = { text: 'domain', key } as const;
      const memory = await lab.memory(choice);
      entries = memory.info.entries;
      fits.set(key, await lab.fit({ memory, text: 'domain' }));
      if (key !== BEST) await lab.drop(choice);
    }
    const best = fits.get(BEST)!;
    const memory = await lab.memory({ text: 'domain' });
    const rows = [
      resultRow('model alone', best.lm),
      ...[...fits].map(([key, fit]) => resultRow(key, fit.mixture, { ...fit.settings, entries })),
    ];
    const others = [...fits].filter(([key]) => key !== BEST);
    const [rival, second] = others.reduce((a, b) =>
      b[1].mixture.perplexity < a[1].mixture.perplexity ? b : a,
    );
    const [weakest, last] = [...fits].reduce((a, b) =>
      b[1].mixture.perplexity > a[1].mixture.perplexity ? b : a,
    );
    return {
      question: 'Which of the six states of the last block should be stored?',
      setup: await describeSetup(lab, 'domain', memory),
      paper: {
        where: 'Table 5',
        setting: 'WikiText-103, dev; λ tuned for each',
        rows: [
          ['no datastore', '17.96'],
          ['ffn-input (after the norm)', '16.06'],
          ['ffn-input-before-norm', '17.06'],
          ['attention-input (after the norm)', '16.76'],
          ['attention-input-before-norm', '17.14'],
          ['output (after the norm)', '17.01'],
          ['output-before-norm', '17.07'],
        ],
      },
      rows,
      claims: [
        lowerClaim({
          statement: 'Every one of the six states makes keys that help.',
          better: last.mixture,
          worse: best.lm,
          names: `the weakest, ${weakest}, over model alone`,
        }),
        lowerClaim({
          statement: 'The input of the feed-forward network, after its norm, is the best key.',
          better: best.mixture,
          worse: second.mixture,
          names: `${BEST} over the best other, ${rival}`,
          because: `The paper’s model has 16 layers of width 1,024, this one ${memory.model.info.layers} of width ${memory.model.info.keyDim}.`,
        }),
      ],
      charts: [{ kind: 'range', name: 'keys', title: 'Perplexity by key', rows }],
    };
  },
};
