/** The table of experiments, in the paper's order. A new one is one file and one line here. */
import { cache } from './cache.ts';
import { distance } from './distance.ts';
import { domain } from './domain.ts';
import { keys } from './keys.ts';
import { neighbors } from './neighbors.ts';
import { retrieveVsTrain } from './retrieve-vs-train.ts';
import { sameData } from './same-data.ts';
import { size } from './size.ts';
import type { Experiment } from './types.ts';
import { weight } from './weight.ts';

export const EXPERIMENTS: readonly Experiment[] = [
  sameData,
  retrieveVsTrain,
  domain,
  keys,
  neighbors,
  weight,
  size,
  distance,
  cache,
];
