/** Figure 2: the larger the store the better, and the larger the best λ. */
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import { fallingClaim, higherClaim, lowerClaim } from './claims.ts';
import type { Fit } from './fit.ts';
import { describeSetup, resultRow } from './rows.ts';
import type { Experiment } from './types.ts';

/** Shares of the store's documents, in their order by hash. */
const SHARES = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1];

export const size: Experiment = {
  name: 'size',
  title: 'How large a store',
  weight: 2,
  async run(lab) {
    const memory = await lab.memory({ text: 'domain' });
    const wanted = sizes(memory.datastore.documents, memory.info.entries);
    if (wanted.length < 2) {
      throw new KnnLMError(
        'NO_DOCUMENTS',
        'The size experiment needs two stored documents or more, but there is one. Give more with --docs.',
      );
    }
    const fits: { entries: number; fit: Fit }[] = [];
    for (const entries of wanted) {
      // A part of the store is the store with the rest left out: the search is the same as in a smaller one.
      const rest: IdRange[] = [[entries, memory.datastore.entries]];
      const exclude = entries < memory.datastore.entries ? rest : undefined;
      fits.push({ entries, fit: await lab.fit({ memory, text: 'domain', exclude }) });
    }
    const first = fits[0]!;
    const last = fits.at(-1)!;
    const name = (entries: number): string => `${entries.toLocaleString('en-US')} entries`;
    const rows = fits.map(({ entries, fit }) =>
      resultRow(name(entries), fit.mixture, { ...fit.settings, entries }),
    );
    const estimate = ({ entries, fit }: typeof first) => ({
      name: `best λ with ${name(entries)}`,
      value: fit.settings.lambda,
      interval: fit.lambdaInterval,
    });
    return {
      question: 'What is a larger store worth?',
      setup: `${await describeSetup(lab, 'domain', memory)} Smaller stores are the first of its documents.`,
      paper: {
        where: 'Figure 2',
        setting: 'model trained on 100M tokens, best λ by size of the store; read off the figure',
        rows: [
          ['0.2 billion entries', 'λ = 0.25'],
          ['0.4 billion', 'λ = 0.35'],
          ['1.6 billion', 'λ = 0.45'],
          ['3 billion', 'λ = 0.55'],
        ],
      },
      rows: [resultRow('model alone', last.fit.lm), ...rows],
      claims: [
        fallingClaim(
          'Perplexity falls as the store grows.',
          fits.map(({ entries, fit }) => ({ name: name(entries), score: fit.mixture })),
        ),
        lowerClaim({
          statement: 'It has not stopped falling at the largest store.',
          better: last.fit.mixture,
          worse: fits.at(-2)!.fit.mixture,
          names: `${name(last.entries)} over ${name(fits.at(-2)!.entries)}`,
        }),
        higherClaim('The best λ grows with the store.', estimate(last), estimate(first)),
      ],
      charts: [
        {
          kind: 'line',
          name: 'size',
          title: 'Perplexity over the size of the store',
          x: { label: 'entries', log: true },
          y: { label: 'perplexity' },
          series: [
            {
              name: 'mixture',
              points: rows.map(({ entries, perplexity, interval }) => ({
                x: entries!,
                y: perplexity,
                interval,
              })),
            },
          ],
          reference: { name: 'model alone', y: last.fit.lm.perplexity },
        },
      ],
    };
  },
};

/** Ends of documents nearest to the shares wanted, ascending, each once. */
function sizes(documents: Iterable<{ start: number; length: number }>, entries: number): number[] {
  const ends = [...documents].map(({ start, length }) => start + length);
  const nearest = (wanted: number): number =>
    ends.reduce((a, b) => (Math.abs(b - wanted) < Math.abs(a - wanted) ? b : a));
  return [...new Set(SHARES.map((share) => nearest(share * entries)))];
}
