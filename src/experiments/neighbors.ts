/** Figure 4: more neighbors are better, and few are enough for most of the gain. */
import { fallingClaim, lowerClaim } from './claims.ts';
import { describeSetup, resultRow } from './rows.ts';
import type { Experiment } from './types.ts';

export const neighbors: Experiment = {
  name: 'k',
  title: 'How many neighbors',
  weight: 0.5,
  async run(lab) {
    const memory = await lab.memory({ text: 'domain' });
    const fit = await lab.fit({ memory, text: 'domain' });
    const rows = fit.byK.map(({ settings, score }) =>
      resultRow(`k = ${settings.k}`, score, settings),
    );
    const series = fit.byK.map(({ settings, score }) => ({ name: `k = ${settings.k}`, score }));
    const few = series.find(({ name }) => name === 'k = 8') ?? series[0]!;
    return {
      question: 'How does perplexity depend on the number of neighbors?',
      setup: `${await describeSetup(lab, 'domain', memory)} λ and T were chosen for every k, T from a grid of ratio √2.`,
      paper: {
        where: 'Figure 4',
        setting: 'WikiText-103, dev; read off the figure, ±0.2',
        rows: [
          ['k = 1', '17.6'],
          ['k = 2', '17.3'],
          ['k = 8', '16.8'],
          ['k = 64', '16.3'],
          ['k = 256', '16.2'],
          ['k = 1024', '16.1'],
        ],
      },
      rows: [resultRow('model alone', fit.lm), ...rows],
      claims: [
        fallingClaim('Perplexity falls as k grows.', series),
        lowerClaim({
          statement: 'A handful of neighbors already beats the model alone.',
          better: few.score,
          worse: fit.lm,
          names: `${few.name} over model alone`,
        }),
      ],
      charts: [
        {
          kind: 'line',
          name: 'k',
          title: 'Perplexity over the number of neighbors',
          x: { label: 'k', log: true },
          y: { label: 'perplexity' },
          series: [
            {
              name: 'mixture',
              points: rows.map(({ k, perplexity, interval }) => ({
                x: k!,
                y: perplexity,
                interval,
              })),
            },
          ],
          reference: { name: 'model alone', y: fit.lm.perplexity },
        },
      ],
    };
  },
};
