/** Table 1: a store of the very text a model was trained on still helps it. */
import { lowerClaim } from './claims.ts';
import { coverage, describeSetup, fitRows } from './rows.ts';
import type { Experiment } from './types.ts';

export const sameData: Experiment = {
  name: 'same-data',
  title: 'A store of the training data itself',
  weight: 1.2,
  async run(lab) {
    const memory = await lab.memory({ text: 'trained' });
    const { entries } = memory.info;
    const fit = await lab.fit({ memory, text: 'trained' });
    const rows = fitRows(fit, 'with a store of training text', entries);
    return {
      question: 'Does a model predict better when it can look up what it was trained on?',
      setup: await describeSetup(lab, 'trained', memory),
      paper: {
        where: 'Table 1',
        setting: 'WikiText-103, test; 103 million entries',
        rows: [
          ['model alone', '18.65'],
          ['with the store', '16.12'],
        ],
      },
      rows,
      claims: [
        lowerClaim({
          statement: 'A store of the training data lowers perplexity without further training.',
          better: fit.mixture,
          worse: fit.lm,
          names: 'mixture over model alone',
          because: coverage(fit, entries),
        }),
      ],
      charts: [{ kind: 'range', name: 'same-data', title: 'Perplexity', rows }],
    };
  },
};
