/**
 * Table 1, last rows: the continuous cache (Grave et al. 2017) remembers the text being read, and adds to the store.
 *
 * A cache is a store of the document so far. So the scored documents become a datastore, and a target may retrieve only
 * what lies before it in its own document.
 */
import type { FlatIndex } from '../indexes/flat-index.ts';
import { CachedNeighbors, type NeighborTable } from '../knnlm/cached-neighbors.ts';
import type { KnnLM } from '../knnlm/knnlm.ts';
import { Breather } from '../math/breather.ts';
import type { IdRange } from '../math/vectors.ts';
import { lowerClaim } from './claims.ts';
import type { Fit } from './fit.ts';
import type { Lab } from './lab.ts';
import { mixtureWeights, type Parts, threeWayScore } from './mixture-weights.ts';
import { readStoreKeys } from './read-store-keys.ts';
import { describeSetup, resultRow } from './rows.ts';
import { runFit } from './run-fit.ts';
import type { TextWindow } from './text-windows.ts';
import type { Experiment } from './types.ts';

const QUERIES_AT_ONCE = 512;

export const cache: Experiment = {
  name: 'cache',
  title: 'Remembering the text being read',
  weight: 1.2,
  async run(lab) {
    const memory = await lab.memory({ text: 'domain' });
    const store = await lab.fit({ memory, text: 'domain' });
    const own = await cacheFit(lab, memory, store);
    const parts = (half: 'tuning' | 'reporting'): Parts => ({
      lm: store.logLm[half],
      gains: [store.gains[half], own.gains[half]],
    });
    const weights = await mixtureWeights(parts('tuning'));
    const both = threeWayScore(parts('reporting'), weights, store.lm);
    const rows = [
      resultRow('model alone', store.lm),
      resultRow('with the cache', own.mixture, own.settings),
      resultRow('with the store', store.mixture, {
        ...store.settings,
        entries: memory.info.entries,
      }),
      resultRow(
        `with both (λ ${weights[0]!.toFixed(2)} store, ${weights[1]!.toFixed(2)} cache)`,
        both,
      ),
    ];
    return {
      question: 'Does remembering the document so far help, and still help beside a store?',
      setup: `${await describeSetup(lab, 'domain', memory)} The cache holds all of the document before the target.`,
      paper: {
        where: 'Table 1',
        setting: 'WikiText-103, test',
        rows: [
          ['model alone', '18.65'],
          ['with a continuous cache', '18.27'],
          ['with the store', '16.12'],
          ['with both', '15.79'],
        ],
      },
      rows,
      claims: [
        lowerClaim({
          statement: 'A continuous cache lowers perplexity.',
          better: own.mixture,
          worse: store.lm,
          names: 'with the cache over model alone',
        }),
        lowerClaim({
          statement: 'A cache still helps where there is a store.',
          better: both,
          worse: store.mixture,
          names: 'with both over with the store',
        }),
      ],
      charts: [{ kind: 'range', name: 'cache', title: 'Perplexity', rows }],
    };
  },
};

/** The cache in the place of the store. */
async function cacheFit(lab: Lab, memory: KnnLM, { logLm }: Fit): Promise<Fit> {
  const choice = { text: 'domain', part: 'scored' } as const;
  const past = await lab.memory(choice);
  const keys = await readStoreKeys(past.datastore, Number.POSITIVE_INFINITY);
  const { tuning, reporting } = await lab.windows(memory, 'domain');
  const fit = await runFit(
    {
      tuning: await pastNeighbors(lab, past, { windows: tuning, keys, lm: logLm.tuning }),
      reporting: await pastNeighbors(lab, past, { windows: reporting, keys, lm: logLm.reporting }),
    },
    lab.signal,
  );
  await lab.drop(choice);
  return fit;
}

interface PastText {
  windows: readonly TextWindow[];
  /** (n, d) of the store of scored documents. */
  keys: Float32Array;
  /** (q) log p_LM of the windows' targets. */
  lm: Float32Array;
}

/** For every target the nearest of what was read before it in its document. */
async function pastNeighbors(
  lab: Lab,
  { datastore, retriever }: KnnLM,
  { windows, keys, lm }: PastText,
): Promise<NeighborTable> {
  const index = retriever.index as FlatIndex;
  const d = datastore.keyDim;
  const starts = new Map([...datastore.documents].map(({ id, start }) => [id, start]));
  // Entry t of a document is the state that predicts target t.
  const asked = windows.flatMap(({ id, start, positions, targets }, unit) =>
    Array.from(positions, (position) => {
      const first = starts.get(id)!;
      return { unit, first, entry: first + start + position, target: targets[position]! };
    }),
  );
  const k = Math.min(lab.k, index.size);
  const found = new CachedNeighbors(asked.length, k);
  const breather = new Breather();
  for (let from = 0; from < asked.length; from += QUERIES_AT_ONCE) {
    const part = asked.slice(from, from + QUERIES_AT_ONCE);
    const queries = new Float32Array(part.length * d);
    part.forEach(({ entry }, row) => {
      queries.set(keys.subarray(entry * d, (entry + 1) * d), row * d);
    });
    const excludePerQuery = part.map(({ first, entry }): IdRange[] => [
      ...(first > 0 ? ([[0, first]] as IdRange[]) : []),
      [entry, index.size],
    ]);
    const rows = await retriever.retrieve(queries, { k, excludePerQuery, signal: lab.signal });
    const batch = {
      ...rows,
      lm: lm.subarray(from, from + part.length),
      targets: part.map(({ target }) => target),
      units: part.map(({ unit }) => unit),
    };
    for (let row = 0; row < part.length; row++) {
      found.append(batch, row);
      if ((row & 31) === 0) await breather.pause();
    }
    const done = from + part.length;
    lab.options.onProgress?.({ done, total: asked.length, unit: 'tokens', phase: 'caching' });
  }
  return found.table();
}
