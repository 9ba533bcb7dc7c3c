/** Starts `server-process.js` and keeps what it tells. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** @param options of `serve` */
export async function startMeasured(store, options = {}) {
  const file = fileURLToPath(new URL('./server-process.js', import.meta.url));
  const child = fork(file, [store, JSON.stringify(options)]);
  const reports = [];
  const about = await new Promise((resolve, reject) => {
    child.once('message', resolve);
    child.once('exit', () => reject(new Error('The server did not start.')));
  });
  child.on('message', (report) => reports.push(report));
  return {
    ...about,
    /** What was told since it was last asked. */
    takeReports: () => reports.splice(0),
    stop: () => child.disconnect(),
  };
}
