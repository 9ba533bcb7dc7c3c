// Builds a small store until it is done or killed: node build-child.js STORE [OPERATION]
// With OPERATION it kills itself just before that file operation, counted from 0.
import { createHash } from 'node:crypto';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { faults } from '../../dist/datastore/files.js';

const [path, operation] = process.argv.slice(2);
let left = operation === undefined ? Number.POSITIVE_INFINITY : Number(operation);
faults.before = () => {
  if (left-- === 0) process.kill(process.pid, 'SIGKILL');
};

const dim = 64;
const writer = await DatastoreWriter.open(path, {
  model: { name: 'fake', family: 'llama', file: 'model.onnx', contextLength: 64 },
  fingerprint: { weights: 'w', tokenizer: 't', dtype: 'fp32', keyTensor: '/x', provider: 'cpu' },
  key: { name: 'ffn-input', tensor: '/x', dim, dtype: 'fp16' },
  vocabSize: 1000,
  bos: 0,
  eos: 1,
  window: 64,
  stride: 32,
});
process.stdout.write('open\n');

for (let d = 0; d < 30; d++) {
  const id = `document ${d}`;
  const hash = createHash('sha256').update(id).digest('hex');
  if (writer.status(id, hash) === 'done') continue;
  const length = 100 + ((d * 379) % 900);
  let done = await writer.beginDocument({ id, source: `${id}.txt`, hash, length });
  while (done < length) {
    const end = Math.min(length, done + 270);
    const keys = new Float32Array((end - done) * dim);
    for (let i = 0; i < keys.length; i++) keys[i] = Math.sin(d * 1e4 + done * dim + i);
    const values = Uint32Array.from({ length: end - done }, (_, i) => (d + done + i) % 1000);
    await writer.append(keys, values);
    await writer.commit();
    done = end;
  }
  await writer.endDocument();
}
await writer.finish({ k: 8, lambda: 0.25, temperature: 1, source: 'default' });
