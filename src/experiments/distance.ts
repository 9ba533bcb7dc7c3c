/** Section 4.2 and 5: squared L2 against inner product, and full-precision distances against those of coarse codes. */
import { FlatIndex } from '../indexes/flat-index.ts';
import type { VectorIndex } from '../indexes/vector-index.ts';
import type { KnnLM } from '../knnlm/knnlm.ts';
import { Retriever } from '../knnlm/retriever.ts';
import { lowerClaim } from './claims.ts';
import type { Fit } from './fit.ts';
import { InnerProductIndex } from './inner-product-index.ts';
import type { Lab } from './lab.ts';
import { quantizeKeys } from './quantize.ts';
import { readStoreKeys } from './read-store-keys.ts';
import { describeSetup, resultRow } from './rows.ts';
import type { Experiment } from './types.ts';

/** Entries compared, from the store's beginning: they are held in memory as float32, several times over. */
const MOST_ENTRIES = 250_000;
const BITS = [4, 2, 1] as const;

export const distance: Experiment = {
  name: 'distance',
  title: 'Which distance, and how exact',
  weight: 3,
  async run(lab) {
    const memory = await lab.memory({ text: 'domain' });
    const dim = memory.datastore.keyDim;
    const keys = await readStoreKeys(memory.datastore, MOST_ENTRIES);
    const entries = keys.length / dim;
    const exact = await fitWith(lab, memory, FlatIndex.fromKeys(keys, dim));
    const inner = await fitWith(lab, memory, InnerProductIndex.fromKeys(keys, dim));
    const coarse: { bits: number; fit: Fit }[] = [];
    for (const bits of BITS) {
      const index = quantizeKeys(keys, dim, bits).then((codes) => FlatIndex.fromKeys(codes, dim));
      coarse.push({ bits, fit: await fitWith(lab, memory, index) });
    }
    const coarsest = coarse.at(-1)!;
    const codeName = (bits: number): string =>
      `squared L2, ${bits} bit${bits === 1 ? '' : 's'} a dimension (${(dim * bits) / 8} bytes)`;
    const rows = [
      resultRow('model alone', exact.lm),
      resultRow('squared L2, exact', exact.mixture, { ...exact.settings, entries }),
      resultRow('inner product, exact', inner.mixture, { ...inner.settings, entries }),
      ...coarse.map(({ bits, fit }) =>
        resultRow(codeName(bits), fit.mixture, { ...fit.settings, entries }),
      ),
    ];
    return {
      question: 'Does it matter how near is measured, and how exactly?',
      setup:
        `${await describeSetup(lab, 'domain', memory)} Compared on ${entries.toLocaleString('en-US')} entries; ` +
        'k, λ and T were chosen for each. The T of the inner product is in units of -2 q·k.',
      paper: {
        where: 'Sections 4.2 and 5',
        setting: 'WikiText-103, dev; inner product is said to be worse, without a number',
        rows: [
          ['codes of 64 bytes for 1,024 dimensions', '16.5'],
          ['full precision', '16.06'],
        ],
      },
      rows,
      claims: [
        lowerClaim({
          statement: 'Squared L2 distances are better than inner products.',
          better: exact.mixture,
          worse: inner.mixture,
          names: 'L2 over inner product',
        }),
        lowerClaim({
          statement: 'Exact distances are better than those of coarse codes.',
          better: exact.mixture,
          worse: coarsest.fit.mixture,
          names: `exact over ${coarsest.bits} bit a dimension`,
          because: `The paper’s codes have half a bit a dimension, these ${coarsest.bits}; T was chosen anew for each.`,
        }),
      ],
      charts: [{ kind: 'range', name: 'distance', title: 'Perplexity', rows }],
    };
  },
};

async function fitWith(lab: Lab, memory: KnnLM, opening: Promise<VectorIndex>): Promise<Fit> {
  const index = await opening;
  try {
    const retriever = new Retriever(memory.datastore, index);
    return await lab.fit({ memory, text: 'domain', retriever });
  } finally {
    await index.close();
  }
}
