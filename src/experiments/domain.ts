/** Table 4: a store of another kind of text adapts the model to it, without training. */
import { lowerClaim } from './claims.ts';
import { coverage, describeSetup, fitRows, resultRow } from './rows.ts';
import type { Experiment } from './types.ts';

export const domain: Experiment = {
  name: 'domain',
  title: 'Another kind of text, without training',
  weight: 1.6,
  async run(lab) {
    const memory = await lab.memory({ text: 'domain' });
    const trained = await lab.memory({ text: 'trained' });
    const { entries } = memory.info;
    const fit = await lab.fit({ memory, text: 'domain' });
    const away = await lab.fit({ memory: trained, text: 'domain' });
    const rows = [
      ...fitRows(fit, 'with a store of its kind', entries),
      resultRow('with a store of training text', away.mixture, {
        ...away.settings,
        entries: trained.info.entries,
      }),
    ];
    return {
      question: 'Does a store of another kind of text make a model fit for it?',
      setup: await describeSetup(lab, 'domain', memory),
      paper: {
        where: 'Table 4',
        setting: 'model trained on Wikipedia, scored on Books, test',
        rows: [
          ['model alone', '34.84'],
          ['with a store of books', '20.47'],
          ['a model trained on books', '11.89'],
        ],
      },
      rows,
      claims: [
        lowerClaim({
          statement: 'A store of the new kind of text lowers perplexity on it.',
          better: fit.mixture,
          worse: fit.lm,
          names: 'mixture over model alone',
          because: coverage(fit, entries),
        }),
        lowerClaim({
          statement: 'It is the kind of text that counts, not that there is a store.',
          better: fit.mixture,
          worse: away.mixture,
          names: 'store of its kind over store of training text',
        }),
      ],
      charts: [{ kind: 'range', name: 'domain', title: 'Perplexity', rows }],
    };
  },
};
