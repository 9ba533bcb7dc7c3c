/**
 * Preload (`node --import`): SIGKILLs the process just before its n-th change of the disk, counted over all of its threads and
 * whatever part of the program makes it. KNNLM_KILL_AT is n, from 0; without it nothing happens.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { getEnvironmentData, isMainThread, setEnvironmentData } from 'node:worker_threads';

const KEY = 'knnlm-kill-at';
const at = process.env.KNNLM_KILL_AT;
if (isMainThread && at !== undefined) {
  const left = new Int32Array(new SharedArrayBuffer(4));
  left[0] = Number(at);
  setEnvironmentData(KEY, left);
}
const left = getEnvironmentData(KEY);

/** Before every call, unless it only reads. */
function patch(object, name, changes = () => true) {
  const original = object[name];
  object[name] = function (...parameters) {
    if (changes(...parameters) && Atomics.sub(left, 0, 1) === 0)
      process.kill(process.pid, 'SIGKILL');
    return original.apply(this, parameters);
  };
}

const forWriting = (_path, flags = 'r') => flags !== 'r';

if (left) {
  const probe = await fs.promises.open('/dev/null', 'r');
  const handle = Object.getPrototypeOf(probe);
  await probe.close();
  for (const name of ['write', 'writev', 'writeFile', 'appendFile', 'truncate', 'sync', 'datasync'])
    patch(handle, name);
  for (const name of [
    'rename',
    'rm',
    'rmdir',
    'mkdir',
    'link',
    'unlink',
    'writeFile',
    'truncate',
  ]) {
    patch(fs.promises, name);
    patch(fs, `${name}Sync`);
  }
  for (const name of ['writeSync', 'fsyncSync', 'ftruncateSync']) patch(fs, name);
  patch(fs.promises, 'open', forWriting);
  patch(fs, 'openSync', forWriting);
  syncBuiltinESMExports();
}
