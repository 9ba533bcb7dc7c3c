/** Figure 5: the best λ is larger on text of another kind than on text like the training data. */
import { higherClaim } from './claims.ts';
import type { Fit } from './fit.ts';
import { describeSetup, resultRow } from './rows.ts';
import type { Experiment } from './types.ts';

/** Beyond this many times the model's perplexity a curve is cut off: what matters lies below. */
const MOST_SHOWN = 2;

export const weight: Experiment = {
  name: 'lambda',
  title: 'How much to trust the store',
  weight: 0.5,
  async run(lab) {
    const memory = await lab.memory({ text: 'domain' });
    const trained = await lab.memory({ text: 'trained' });
    const far = await lab.fit({ memory, text: 'domain' });
    const near = await lab.fit({ memory: trained, text: 'trained' });
    const named = [
      ['another kind of text', far, memory],
      ['text like the training data', near, trained],
    ] as const;
    const estimate = (name: string, fit: Fit) => ({
      name: `best λ on ${name}`,
      value: fit.settings.lambda,
      interval: fit.lambdaInterval,
    });
    return {
      question: 'Does the best weight of the neighbors depend on the kind of text?',
      setup: `${await describeSetup(lab, 'domain', memory)} And ${await describeSetup(lab, 'trained', trained)}`,
      paper: {
        where: 'Figure 5',
        setting: 'best λ',
        rows: [
          ['WikiText-103, store of training data', 'λ = 0.25'],
          ['Wikipedia model, store of books', 'λ = 0.65'],
        ],
      },
      rows: named.flatMap(([name, fit, { info }]) => [
        resultRow(`${name}: model alone`, fit.lm),
        resultRow(`${name}: best λ`, fit.mixture, { ...fit.settings, entries: info.entries }),
      ]),
      claims: [
        higherClaim(
          'The best λ is larger on text of another kind than on text like the training data.',
          estimate(named[0][0], far),
          estimate(named[1][0], near),
        ),
      ],
      charts: [
        {
          kind: 'line',
          name: 'lambda',
          title: 'Perplexity over λ, relative to the model alone',
          x: { label: 'λ' },
          y: { label: 'perplexity / model alone' },
          series: named.map(([name, fit]) => ({
            name,
            points: fit.byLambda
              .map(({ lambda, perplexity }) => ({ x: lambda, y: perplexity / fit.lm.perplexity }))
              .filter(({ y }) => y <= MOST_SHOWN),
            mark: fit.settings.lambda,
          })),
          reference: { name: 'model alone', y: 1 },
        },
      ],
    };
  },
};
