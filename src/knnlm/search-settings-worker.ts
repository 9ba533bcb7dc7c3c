/** Worker thread: one settings search, from shared arrays, then it ends. */
import { parentPort, workerData } from 'node:worker_threads';
import { searchSettings } from './search-settings.ts';

parentPort!.postMessage(searchSettings(workerData));
