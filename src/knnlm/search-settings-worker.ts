/** Worker thread: one search for settings and all that is fitted with them, from shared arrays, then it ends. */
import { parentPort, workerData } from 'node:worker_threads';
import { fitOffline } from './fit-offline.ts';

parentPort!.postMessage(fitOffline(workerData));
