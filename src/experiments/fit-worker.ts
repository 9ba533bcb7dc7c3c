/** Worker thread: one fit, from shared arrays, then it ends. */
import { parentPort, workerData } from 'node:worker_threads';
import { fitTables } from './fit.ts';

parentPort!.postMessage(fitTables(workerData));
