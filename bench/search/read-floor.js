// How fast all threads together can read a block of memory: the floor under any scan of it. The bytes are read by the same
// kind of code as the scan (128-bit WebAssembly loads), over and over, so caches help it as much as they help the scan.
import { readFileSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { median } from './keys-file.js';

const PASSES = 100;

const script = `
const { parentPort, workerData } = require('node:worker_threads');
const { module, memory, address, bytes } = workerData;
const { readAll } = new WebAssembly.Instance(module, { env: { memory, abort() {} } }).exports;
parentPort.on('message', () => {
  const start = performance.now();
  readAll(address, bytes);
  parentPort.postMessage(performance.now() - start);
});`;

/**
 * @param {number} bytes read once per pass, by all threads together
 * @param {number} threads
 * @returns {Promise<{ measure: () => Promise<number>, close: () => Promise<unknown> }>} measure gives the slowest thread's milliseconds per pass, the median of many
 */
export async function readFloor(bytes, threads) {
  const wasm = new URL('../../dist/indexes/kernels/scan.wasm', import.meta.url);
  const module = await WebAssembly.compile(readFileSync(wasm));
  const pages = Math.ceil(bytes / 65536) + 1;
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  new Uint8Array(memory.buffer).fill(1);
  const share = Math.floor(bytes / threads / 64) * 64;
  const workers = Array.from({ length: threads }, (_, t) => {
    const workerData = { module, memory, address: 65536 + t * share, bytes: share };
    return new Worker(script, { eval: true, workerData });
  });
  const once = (worker) =>
    new Promise((resolve) => {
      worker.once('message', resolve);
      worker.postMessage(0);
    });
  return {
    measure: async () => {
      const times = [];
      for (let i = 0; i < PASSES; i++)
        times.push(Math.max(...(await Promise.all(workers.map(once)))));
      return median(times);
    },
    close: () => Promise.all(workers.map((worker) => worker.terminate())),
  };
}
