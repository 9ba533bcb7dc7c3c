/** Worker thread: one search for settings and one gate, from shared arrays, then it ends. */
import { parentPort, workerData } from 'node:worker_threads';
import { searchSettings } from './search-settings.ts';
import { trainGate } from './train-gate.ts';

const search = searchSettings(workerData);
parentPort!.postMessage({ search, gate: trainGate(workerData, search.best) });
