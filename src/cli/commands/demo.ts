/** `knnlm demo`: documents in, memory built, perplexity with and without, a cited continuation. Offline, about a minute. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Option } from 'commander';
import { readDocuments } from '../../datastore/sources/read-documents.ts';
import type { BuildResult } from '../../knnlm/build-types.ts';
import type { Generation } from '../../knnlm/generation-types.ts';
import type { Evaluation, RetrievalSettings } from '../../knnlm/types.ts';
import { buildDatastore, openKnnLM } from '../../open.ts';
import { defineCommand, type Session } from '../command.ts';
import { addThreadOptions, positiveInteger } from '../options.ts';
import { buildSummary } from '../views/build.ts';
import { nextSteps } from '../views/demo.ts';
import { evaluationText } from '../views/evaluation.ts';
import { showPlan } from './build.ts';
import { NEIGHBORS_FOR_SOURCES, show } from './generate.ts';

const DATA = fileURLToPath(new URL('../../../demo/', import.meta.url));

/** The best for three other held-out sections of the same book (on eyes, ears and Alzheimer's), not the two scored here. */
const SETTINGS: RetrievalSettings = { k: 1024, lambda: 0.5, temperature: 8 };
/** What predicts best averages over many contexts; to write, a memory that listens to the nearest few reads better. */
const WRITING: Partial<RetrievalSettings> = { temperature: 2 };
const PROMPT = 'The kidneys';
const MAX_TOKENS = 51;

interface DemoOptions {
  out?: string;
  prompt?: string;
  maxTokens?: number;
  workers?: number;
  threads?: number;
}

interface DemoResult {
  store: string;
  build: BuildResult;
  evaluation: Evaluation;
  prompt: string;
  /** The continuation by the model alone. */
  lmGeneration: Generation;
  generation: Generation;
}

export const demoCommand = () =>
  defineCommand<DemoOptions, []>({
    name: 'demo',
    summary: 'see it work, offline, in about a minute',
    description:
      'Reads 67 sections of a pharmacology textbook (OpenStax, CC BY 4.0) into a store with the bundled model, scores two ' +
      'sections it has not read with and without the memory, and continues a sentence, citing its sources.',
    examples: [
      ['knnlm demo', 'a store in a temporary folder'],
      [
        'knnlm demo --out demo.knn --prompt "Proton-pump inhibitors are"',
        'a store to keep, a sentence of your own',
      ],
    ],
    configure(command) {
      command
        .option('-o, --out <store>', 'folder for the store (default: a temporary one)')
        .option('--prompt <text>', 'the sentence to continue')
        .addOption(
          new Option('--max-tokens <n>', `tokens to write (default: ${MAX_TOKENS})`).argParser(
            positiveInteger,
          ),
        );
      addThreadOptions(command);
    },
    async run(_positional, options, session) {
      const { screen } = session;
      const result = await runDemo(options, session);
      if (screen.isJson) screen.result(result, () => '');
      else screen.write(`\n${nextSteps(result.store, screen.colors)}\n`);
    },
  });

/** The three steps; each prints its result as soon as it is there. */
async function runDemo(options: DemoOptions, session: Session): Promise<DemoResult> {
  const { screen, signal } = session;
  const { workers, threads, prompt = PROMPT } = options;
  const say = (text: string) => {
    if (!screen.isJson) screen.write(`${text}\n`);
  };
  const heading = (text: string) => say(screen.colors.bold(text));
  const store = options.out ?? join(await mkdtemp(join(tmpdir(), 'knnlm-demo-')), 'store');

  heading('1  A memory of 67 sections of a pharmacology textbook');
  const build = await buildDatastore([join(DATA, 'pharmacology.jsonl')], {
    out: store,
    settings: SETTINGS,
    workers,
    threads,
    onPlan: (plan) => showPlan(plan, store, screen),
    onProgress: screen.progress,
    signal,
  });
  say(`${buildSummary(build, store, screen.colors)}\n`);

  const memory = await openKnnLM(store, { workers, threads, signal });
  try {
    heading('2  How well it predicts two sections that it has not read');
    const heldOut = readDocuments([join(DATA, 'held-out.jsonl')], { signal });
    const evaluation = await memory.evaluate(heldOut, { onProgress: screen.progress, signal });
    say(`${evaluationText(evaluation, screen.colors)}\n`);

    const write = (knn: Partial<RetrievalSettings>, sources: boolean) => {
      const { maxTokens = MAX_TOKENS } = options;
      const request = { knn, maxTokens, neighbors: NEIGHBORS_FOR_SOURCES, signal };
      const stream = memory.generate(prompt, request);
      return show({ prompt, stream, options: { sources }, screen, showPrompt: true });
    };
    heading('3  A sentence continued by the model alone');
    const lmGeneration = await write({ lambda: 0 }, false);
    heading('\n   and with the memory, which names its sources');
    const generation = await write(WRITING, true);
    return { store, build, evaluation, prompt, lmGeneration, generation };
  } finally {
    await memory.close();
  }
}
