/** `knnlm tune`: k, λ, T and a gate from held-out text. */
import { writeFile } from 'node:fs/promises';
import { Option } from 'commander';
import { readDocuments } from '../../datastore/sources/read-documents.ts';
import { ioError } from '../../errors.ts';
import { tuningChart } from '../../knnlm/tuning-chart.ts';
import { defineCommand } from '../command.ts';
import { addStoreOptions, type StoreOptions, withMemory } from '../memory-options.ts';
import {
  addDocumentOptions,
  addMachineOptions,
  type DocumentOptions,
  documentOptions,
  number,
  positiveInteger,
  withinOption,
} from '../options.ts';
import { addTargetsOption, pairsFor, type TargetOptions } from '../pair-options.ts';
import { oneLine } from '../text.ts';
import { tuningText } from '../views/tuning.ts';

interface TuneOptions extends StoreOptions, DocumentOptions, TargetOptions {
  k?: number;
  maxTokens?: number;
  plot?: string;
  save: boolean;
  cache: boolean;
  pointers: boolean;
  adaptive: boolean;
  effort?: number;
  within?: number;
}

export const tuneCommand = () =>
  defineCommand<TuneOptions, [store: string, inputs: string[]]>({
    name: 'tune',
    summary: 'find k, λ and T on held-out text and keep them in the store',
    description:
      'Retrieves the neighbors of held-out text once, tries every k, lambda and temperature on them, fits a gate that ' +
      'weighs each query by its own neighbors, with the text read so far and pointers where they pay, learns which searches ' +
      'can be skipped, and keeps the best in the store with what it was tuned on. Use text like ' +
      'that you will read or write with the store, but none that is in it. Settings of several stores together are only told.',
    examples: [
      ['knnlm tune notes.knn held-out.txt', 'tune, and keep the result'],
      [
        'knnlm tune notes.knn held-out/ --plot tuning.svg',
        'with a picture of perplexity over λ and T',
      ],
      [
        'knnlm tune notes.knn held-out.jsonl --within 0.02',
        'settings for speed, which may cost 2% of perplexity',
      ],
      ['knnlm tune notes.knn held-out.jsonl --no-save --json | jq .settings', 'only look'],
    ],
    configure(command) {
      command
        .argument('<store>', 'folder of the store')
        .argument('<text...>', 'files, folders, globs or - for standard input')
        .addOption(
          new Option('--k <n>', 'most neighbors to try (default: 1024)').argParser(positiveInteger),
        )
        .addOption(
          new Option(
            '--max-tokens <n>',
            'tokens to tune on; of a longer text an even sample (default: 100000)',
          ).argParser(positiveInteger),
        )
        .addOption(
          new Option(
            '--effort <share>',
            'of the lists that an inverted file usually reads, the share that searches read, now and from then on (default: 1)',
          ).argParser(number({ min: 0, above: true })),
        )
        .addOption(withinOption().conflicts('effort'))
        .option('--no-cache', 'do not consider remembering the text read so far')
        .option(
          '--no-pointers',
          'do not consider following neighbors from token to token, nor skipping searches',
        )
        .option('--no-adaptive', 'do not learn which searches to skip')
        .option('--plot <file>', 'write perplexity over λ and T as an SVG picture')
        .option('--no-save', 'leave the settings of the store as they are');
      addStoreOptions(command);
      addTargetsOption(addDocumentOptions(command));
      addMachineOptions(command);
    },
    async run([store, inputs], options, session) {
      const { screen, signal } = session;
      const tuning = await withMemory(store, options, session, async (memory) => {
        const pairs = pairsFor(memory, options);
        const documents = readDocuments(inputs, {
          ...documentOptions(options),
          pairs,
          onSkip: screen.skipped,
          signal,
        });
        return await memory.tune(documents, {
          k: options.k,
          maxTokens: options.maxTokens,
          cache: options.cache,
          pointers: options.pointers,
          adaptive: options.adaptive && options.pointers,
          effort: options.effort,
          within: options.within,
          excludeDocuments: options.exclude,
          // Settings of several stores together are only told.
          save: options.save && memory.stores.length === 1,
          onProgress: screen.progress,
          signal,
        });
      });
      for (const { message } of tuning.warnings) screen.warn(oneLine(message));
      if (options.plot !== undefined) await writePlot(options.plot, tuningChart(tuning));
      screen.result(tuning, () => tuningText(tuning, screen.colors));
    },
  });

async function writePlot(path: string, svg: string): Promise<void> {
  try {
    await writeFile(path, svg);
  } catch (error) {
    throw ioError('write the picture', path, error);
  }
}
