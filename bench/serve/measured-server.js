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
  const asked = [];
  child.on('message', (report) => {
    if (report.cpuMs === undefined) reports.push(report);
    else asked.shift()(report.cpuMs);
  });
  return {
    ...about,
    /** What was told since it was last asked. */
    takeReports: () => reports.splice(0),
    /** Milliseconds of processor time that it has had, all threads together. */
    cpuMs: () =>
      new Promise((resolve) => {
        asked.push(resolve);
        child.send('cpu');
      }),
    stop: () => child.disconnect(),
  };
}
