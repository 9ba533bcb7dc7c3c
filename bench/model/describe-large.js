/**
 * How long does `knnlm model` take, and how much memory, for a folder of gigabytes?
 *
 *     node bench/model/describe-large.js MODEL [--bytes 2147483648] [--tokens 150000] [--rounds 5]
 *
 * Makes a folder like MODEL's (a folder with onnx/model.onnx) whose graph has one more weight, of the given size, in a file beside
 * it (a hole in the disk, no bytes), and a vocabulary and tokenizer.json filled up to so many tokens, with as many merges; then runs the command line on it. JSON on the
 * last line: medians of wall time and of the largest resident memory.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { encodeValueInfo } from '../../dist/model/onnx/encode-nodes.js';
import { ProtobufFile } from '../../dist/model/onnx/protobuf-file.js';
import { integerField, messageField, stringField } from '../../dist/model/onnx/protobuf-writer.js';

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    bytes: { type: 'string', default: String(2 ** 31) },
    tokens: { type: 'string', default: '150000' },
    rounds: { type: 'string', default: '5' },
  },
});
const folder = mkdtempSync(join(tmpdir(), 'knnlm-large-'));
try {
  makeLarge(positionals[0], Number(values.bytes), Number(values.tokens));
  const runs = Array.from({ length: Number(values.rounds) }, describe);
  const median = (key) => runs.map((run) => run[key]).sort((a, b) => a - b)[runs.length >> 1];
  console.log(
    JSON.stringify({
      bytes: Number(values.bytes),
      tokens: Number(values.tokens),
      seconds: median('seconds'),
      mebibytes: median('mebibytes'),
    }),
  );
} finally {
  rmSync(folder, { recursive: true });
}

function makeLarge(model, bytes, tokens) {
  cpSync(model, folder, { recursive: true });
  const entry = (key, value) => messageField(13, stringField(1, key), stringField(2, value));
  const tensor = messageField(
    5,
    integerField(1, bytes / 4),
    integerField(2, 1),
    stringField(8, 'large'),
    entry('location', 'model.onnx_data'),
    entry('length', String(bytes)),
    integerField(14, 1),
  );
  const path = join(folder, 'onnx/model.onnx');
  // A second graph message is merged with the first.
  writeFileSync(path, Buffer.concat([withVocabulary(path, tokens), messageField(7, tensor)]));
  writeFileSync(join(folder, 'onnx/model.onnx_data'), '');
  truncateSync(join(folder, 'onnx/model.onnx_data'), bytes);

  const json = JSON.parse(readFileSync(join(folder, 'tokenizer.json'), 'utf8'));
  for (let id = Object.keys(json.model.vocab).length; id < tokens; id++) {
    json.model.vocab[`filler ${id}`] = id;
    json.model.merges.push(`filler ${id}`);
  }
  writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(json));
}

/** The graph with logits of so many tokens; it is described, never run. */
function withVocabulary(path, tokens) {
  const file = new ProtobufFile(path);
  const copied = ({ from, end }) => {
    const bytes = Buffer.alloc(end - from);
    file.copy(from, end, bytes, 0);
    return bytes;
  };
  const logits = encodeValueInfo(12, 'logits', 'float32', ['batch', 'sequence', tokens]);
  const isLogits = (part) =>
    part.number === 12 && file.string(file.message(part).next().value) === 'logits';
  const graph = (field) =>
    messageField(
      7,
      ...Array.from(file.message(field), (part) => (isLogits(part) ? logits : copied(part))),
    );
  const fields = Array.from(file.fields(0, file.size), (field) =>
    field.number === 7 ? graph(field) : copied(field),
  );
  file.close();
  return Buffer.concat(fields);
}

/** One run of the command line, in a process that says what it used. */
function describe() {
  const main = new URL('../../dist/cli/main.js', import.meta.url);
  const watch = `process.on('exit', () => console.error('maxrss', process.resourceUsage().maxRSS));`;
  const start = performance.now();
  const { stderr, stdout } = spawnSync(
    process.execPath,
    [
      '--import',
      `data:text/javascript,${encodeURIComponent(watch)}`,
      fileURLToPath(main),
      'model',
      folder,
      '--json',
    ],
    { encoding: 'utf8' },
  );
  const seconds = (performance.now() - start) / 1000;
  const { graphs } = JSON.parse(stdout);
  if (!graphs.some((graph) => graph.bytes > Number(values.bytes))) throw new Error(stdout);
  return {
    seconds,
    mebibytes: Math.max(...[...stderr.matchAll(/maxrss (\d+)/g)].map((m) => m[1] / 1024)),
  };
}
