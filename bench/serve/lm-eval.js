/**
 * Does lm-evaluation-harness get the same numbers from the server as the library gives?
 *
 *     node bench/serve/lm-eval.js STORE TEXT [--lm-eval lm_eval] [--documents 8] [--questions 60]
 *
 * Needs `pip install "lm-eval[api]"` (0.4). Two tasks are made of TEXT, a held-out file: `loglikelihood_rolling` over whole
 * documents, and multiple choice, where the sentence that follows is to be told from three of other documents. Both are scored
 * through /v1/completions by the harness's `local-completions` with the server's own tokenizer, in batches of 1 and of 8, and held against
 * `KnnLM.scoreTokens` over the same tokens and, for whole documents, `KnnLM.evaluate` (what `knnlm eval` prints) less
 * the end of each text, which the harness does not score. JSON on the last line; fails when a difference exceeds 1e-4.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openKnnLM, readDocuments } from '../../dist/index.js';
import { serve } from '../../dist/server/index.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    'lm-eval': { type: 'string', default: 'lm_eval' },
    documents: { type: 'string', default: '8' },
    questions: { type: 'string', default: '60' },
  },
});
const [store, text] = positionals;
if (!store || !text) throw new Error('usage: node bench/serve/lm-eval.js STORE TEXT');
/** Of a document: longer ones only take longer. */
const MOST_CHARACTERS = 6000;
const TOLERANCE = 1e-4;

const folder = mkdtempSync(join(tmpdir(), 'knnlm-lm-eval-'));
const knnlm = await openKnnLM(store);
const listening = await serve(knnlm, { port: 0, page: false });
const texts = await readTexts(Number(options.questions));
const whole = texts.slice(0, Number(options.documents));
const questions = texts.map(questionOf);
writeTasks();

const own = { rolling: [], choice: [] };
for (const document of whole) own.rolling.push([await logLikelihood([], encode(document))]);
for (const question of questions) own.choice.push(await choicesOf(question));
const evaluated = await evaluatedWithoutEnds();

const report = { store, text, documents: whole.length, questions: questions.length, evaluated };
const runs = {};
for (const batch of [1, 8]) {
  const samples = (runs[batch] = await runHarness(batch));
  report[`batch${batch}`] = {
    rolling: difference(samples.rolling, own.rolling),
    choice: difference(samples.choice, own.choice),
    // The sum over all documents, relatively, since it is a hundred times a single one's.
    eval: Math.abs(sum(samples.rolling.flat()) / evaluated.logLikelihood - 1),
    perplexity: Math.exp(-sum(samples.rolling.flat()) / evaluated.tokens),
    accuracy: samples.accuracy,
  };
  console.log(`batches of ${batch}:`, report[`batch${batch}`]);
}
report.betweenBatches = difference(runs[1].rolling, runs[8].rolling);
await listening.close();
await knnlm.close();
rmSync(folder, { recursive: true });
console.log(JSON.stringify(report));
const { batch1, batch8 } = report;
const all = [batch1, batch8].flatMap(({ rolling, choice, eval: sums }) => [rolling, choice, sums]);
if (Math.max(...all, report.betweenBatches) > TOLERANCE) process.exitCode = 1;

function sum(values) {
  return values.reduce((all, value) => all + value, 0);
}

/** The largest difference per token, in nats. */
function difference(a, b) {
  const lengths =
    a === undefined || b === undefined
      ? []
      : a.map((row, i) => row.map((_, j) => tokensOf(i, j, row)));
  let most = 0;
  for (const [i, row] of a.entries())
    for (const [j, value] of row.entries())
      most = Math.max(most, Math.abs(value - b[i][j]) / lengths[i][j]);
  return most;
}

/** Tokens that a figure sums over: of a document, or of a choice. */
function tokensOf(i, j, row) {
  return row.length === 1 ? encode(whole[i]).length : encode(questions[i].choices[j]).length;
}

async function readTexts(count) {
  const read = [];
  for await (const document of readDocuments([text])) {
    if (document.text.length < 800) continue;
    read.push(document.text.slice(0, MOST_CHARACTERS).trim());
    if (read.length === count) break;
  }
  return read;
}

/** A text up to the end of a sentence, the sentence after it, and three of others, in a place that is no habit. */
function questionOf(story, index) {
  const sentence = (from, at) => {
    const start = from.indexOf('. ', at) + 1 || at;
    return [start, from.slice(start, from.indexOf('. ', start + 20) + 1 || start + 120)];
  };
  const [cut, right] = sentence(story, 300);
  const wrong = [1, 2, 3].map((step) => sentence(texts[(index + step) % texts.length], 200)[1]);
  const label = index % 4;
  const choices = [...wrong.slice(0, label), right, ...wrong.slice(label)];
  return { context: story.slice(0, cut), choices, label };
}

function encode(given) {
  return Array.from(knnlm.model.tokenizer.encode(given));
}

/** Sum of log p of tokens after others. */
async function logLikelihood(context, tokens) {
  const scores = [];
  for await (const piece of knnlm.scoreTokens([...context, ...tokens])) scores.push(...piece);
  return sum(scores.slice(context.length).map(({ logP }) => logP));
}

/** As the harness cuts: context and choice are encoded together, and the context's own tokens taken off. */
async function choicesOf({ context, choices }) {
  const sums = [];
  for (const choice of choices) {
    const given = encode(context.trimEnd());
    const spaces = context.slice(context.trimEnd().length);
    const all = encode(context.trimEnd() + spaces + choice);
    sums.push(await logLikelihood(all.slice(0, given.length), all.slice(given.length)));
  }
  return sums;
}

/** What `knnlm eval` says of the documents, less the ends of their texts. */
async function evaluatedWithoutEnds() {
  const documents = whole.map((document, i) => ({ id: `${i}`, source: `${i}`, text: document }));
  const { knnlm: mixed, tokens } = await knnlm.evaluate(documents);
  let ends = 0;
  for (const document of whole) {
    const scores = [];
    for await (const piece of knnlm.scoreTokens(document)) scores.push(...piece);
    ends += scores.at(-1).logP;
  }
  return { logLikelihood: -mixed.nll - ends, tokens: tokens - whole.length };
}

function writeTasks() {
  const metric = (name) => ({ metric: name });
  const tasks = {
    rolling: {
      rows: whole.map((document) => ({ text: document })),
      output_type: 'loglikelihood_rolling',
      doc_to_text: '',
      doc_to_target: '{{text}}',
      metric_list: [metric('word_perplexity'), metric('bits_per_byte')],
    },
    choice: {
      rows: questions,
      output_type: 'multiple_choice',
      doc_to_text: '{{context}}',
      doc_to_choice: '{{choices}}',
      doc_to_target: 'label',
      target_delimiter: '',
      metric_list: [metric('acc')],
    },
  };
  for (const [name, { rows, ...fields }] of Object.entries(tasks)) {
    const data = join(folder, `${name}.jsonl`);
    writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
    const dataset = { dataset_path: 'json', dataset_kwargs: { data_files: { test: data } } };
    const task = { task: `knnlm_${name}`, ...dataset, test_split: 'test', ...fields };
    // JSON is YAML.
    writeFileSync(join(folder, `${name}.yaml`), JSON.stringify(task));
  }
}

/** @returns by task the log-likelihoods of every document, in their order */
async function runHarness(batch) {
  const out = join(folder, `out-${batch}`);
  const { data } = await (await fetch(`${listening.url}/v1/models`)).json();
  const model = {
    model: data[0].id,
    base_url: `${listening.url}/v1/completions`,
    tokenizer_backend: 'remote',
    max_length: 100_000,
    num_concurrent: 1,
  };
  const named = Object.entries(model).map(([name, value]) => `${name}=${value}`);
  await run(options['lm-eval'], [
    ...['--model', 'local-completions', '--model_args', named.join(',')],
    ...['--tasks', 'knnlm_rolling,knnlm_choice', '--include_path', folder],
    ...['--batch_size', String(batch), '--output_path', out, '--log_samples'],
  ]);
  return samplesIn(out);
}

/** It talks to this very process, which must stay free to answer. */
function run(command, parameters) {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, HF_HUB_OFFLINE: '1', HF_DATASETS_OFFLINE: '1', HF_HOME: folder };
    const child = spawn(command, parameters, { env, stdio: ['ignore', 'ignore', 'pipe'] });
    let errors = '';
    child.stderr.on('data', (data) => (errors += data));
    child.on('error', reject);
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(errors.slice(-3000)))));
  });
}

function samplesIn(out) {
  const samples = {};
  for (const name of readdirSync(out, { recursive: true })) {
    const [, task] = /samples_knnlm_([a-z]+)_/.exec(name) ?? [];
    if (!task) continue;
    const lines = readFileSync(join(out, name), 'utf8').trim().split('\n');
    const rows = lines.map((line) => JSON.parse(line)).sort((a, b) => a.doc_id - b.doc_id);
    // Of each request the first of its answers; of a choice that is [log-likelihood, whether it is greedy].
    samples[task] = rows.map(({ resps }) => resps.map((answers) => Number([answers[0]].flat()[0])));
    if (task === 'choice') samples.accuracy = sum(rows.map(({ acc }) => acc)) / rows.length;
  }
  return samples;
}
