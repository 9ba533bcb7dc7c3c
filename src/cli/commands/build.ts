/** `knnlm build`: documents in, a store out. */
import { Option } from 'commander';
import type { BuildPlan } from '../../knnlm/build-types.ts';
import type { IndexChoice } from '../../knnlm/keep-indexed.ts';
import type { ValuesPlace } from '../../knnlm/milvus/leave-entries.ts';
import type { Device } from '../../model/device.ts';
import { KEY_NAMES, type KeyName, type ModelDtype } from '../../model/language-model.ts';
import { buildDatastore } from '../../open.ts';
import { defineCommand } from '../command.ts';
import { bytes } from '../numbers.ts';
import {
  addDocumentOptions,
  addIndexOption,
  addRetrievalOptions,
  addThreadOptions,
  collect,
  type DocumentOptions,
  documentOptions,
  positiveInteger,
  type RetrievalOptions,
  retrievalSettings,
  valuesOption,
  withinOption,
} from '../options.ts';
import { addLanguageOptions, languageOptions, type PairOptions } from '../pair-options.ts';
import type { Screen } from '../screen.ts';
import { oneLine } from '../text.ts';
import { buildSummary, nearlyFull, planText } from '../views/build.ts';

interface BuildOptions extends RetrievalOptions, DocumentOptions, PairOptions {
  out: string;
  pairs?: boolean;
  model?: string;
  key?: KeyName;
  keyTensor?: string;
  dtype?: ModelDtype;
  window?: number;
  stride?: number;
  keyDtype?: 'fp16' | 'fp32';
  workers?: number;
  threads?: number;
  device?: Device;
  index?: IndexChoice;
  codes?: string;
  dropKeys?: boolean;
  values?: ValuesPlace;
  within?: number;
}

const DTYPES: readonly ModelDtype[] = ['fp32', 'fp16', 'q4', 'q4f16', 'bnb4', 'int8'];

export const buildCommand = () =>
  defineCommand<BuildOptions, [inputs: string[]]>({
    name: 'build',
    summary: 'read documents once and write a store',
    description:
      'Reads documents with a model and writes one (key, value) pair per token to a store. A build that was stopped goes ' +
      'on where it was when the same command is run again.',
    examples: [
      ['knnlm build notes/ --out notes.knn', 'every document in a folder, with the bundled model'],
      [
        'knnlm build "wiki/*.jsonl.gz" --out wiki.knn --model onnx-community/SmolLM2-135M-ONNX',
        'a model from the Hugging Face hub, fetched once',
      ],
      ['cat report.txt | knnlm build - --out report.knn', 'standard input as one document'],
      [
        'knnlm build --pairs law.tsv --out law.knn --model Xenova/opus-mt-de-en',
        'sources and targets, a pair a line, with a translation model',
      ],
    ],
    onInterrupt:
      'Stopping; what is stored stays, and the same command goes on from there. Ctrl-C again ends at once.',
    configure(command) {
      command
        .argument('<docs...>', 'files, folders, globs or - for standard input')
        .requiredOption('-o, --out <store>', 'folder to write');
      addDocumentOptions(command);
      command.optionsGroup('Pairs, for translation and other encoder-decoders:');
      command
        .option(
          '--pairs',
          'docs are pairs of a source and its target: .jsonl with "source" and "target", or .tsv with two columns',
        )
        .option(
          '--targets <file>',
          'docs are sources, a line each, and this file has their targets (repeatable: one for each)',
          collect,
        );
      addLanguageOptions(command);
      command.optionsGroup('Model and keys:');
      command
        .option('-m, --model <model>', 'folder, hub id or bundled name (default: wiki-mini-2)')
        .addOption(
          new Option(
            '--key <key>',
            "which of the last block's tensors is the key (default: ffn-input)",
          ).choices(KEY_NAMES),
        )
        .addOption(
          new Option(
            '--key-tensor <name>',
            'a graph tensor by name instead, for graphs that knnlm cannot read',
          ).conflicts('key'),
        )
        .addOption(
          new Option(
            '--dtype <dtype>',
            "which of the model's graphs to run (default: the most precise)",
          ).choices(DTYPES),
        )
        .addOption(
          new Option(
            '--window <n>',
            "positions read at once (default: the model's context, at most 1024)",
          ).argParser(positiveInteger),
        )
        .addOption(
          new Option(
            '--stride <n>',
            'positions from one window to the next (default: half the window)',
          ).argParser(positiveInteger),
        )
        .addOption(
          new Option(
            '--key-dtype <dtype>',
            'how keys are stored; fp32 takes twice the space (default: fp16)',
          ).choices(['fp16', 'fp32']),
        );
      addRetrievalOptions(command, 'kept in the store');
      command.addOption(withinOption());
      command.optionsGroup('Machine:');
      addIndexOption(command, 'from some 200,000 entries on');
      command
        .option(
          '--codes <name>',
          'how the index codes keys: sq8, pq32, pq64x4, … (default: sq8; with --drop-keys: pq32)',
        )
        .option(
          '--drop-keys',
          'remove the keys when their codes are there: under 40 bytes an entry, with distances less exact',
        );
      command.addOption(valuesOption());
      addThreadOptions(command);
    },
    async run([inputs], options, { screen, signal }) {
      const settings = retrievalSettings(options);
      const result = await buildDatastore(inputs, {
        out: options.out,
        model: options.model,
        key: options.key,
        keyTensor: options.keyTensor,
        dtype: options.dtype,
        window: options.window,
        stride: options.stride,
        keyDtype: options.keyDtype,
        settings: Object.keys(settings).length > 0 ? settings : undefined,
        within: options.within,
        ...documentOptions(options),
        pairs: pairsOf(options),
        workers: options.workers,
        threads: options.threads,
        device: options.device,
        index: options.index,
        codes: options.codes,
        dropKeys: options.dropKeys,
        values: options.values,
        onPlan: (plan) => showPlan(plan, options.out, screen),
        onProgress: screen.progress,
        onDownload: screen.download,
        onWarning: (message) => screen.warn(message),
        onSkip: screen.skipped,
        signal,
      });
      screen.result(result, () => buildSummary(result, options.out, screen.colors));
    },
  });

/** Whatever is said of pairs says that there are some. */
function pairsOf(options: BuildOptions) {
  const told = languageOptions(options);
  const isTold = options.pairs || options.targets || Object.keys(told).length > 0;
  return isTold ? { targets: options.targets, ...told } : undefined;
}

export function showPlan(plan: BuildPlan, out: string, screen: Screen): void {
  screen.note(planText(plan, screen.errorColors));
  if (nearlyFull(plan)) {
    screen.warn(
      `the disk where ${oneLine(out)} lies will be nearly full: ${bytes(plan.diskBytes)} needed, ${bytes(plan.freeDiskBytes)} free.`,
    );
  }
}
