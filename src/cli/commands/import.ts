/** `knnlm import`: a store from arrays that another program made. */
import { Option } from 'commander';
import type { IndexChoice } from '../../knnlm/keep-indexed.ts';
import { KEY_NAMES, type KeyName } from '../../model/language-model.ts';
import { importDatastore } from '../../open.ts';
import { defineCommand } from '../command.ts';
import { count, counted, duration, percent } from '../numbers.ts';
import { addIndexOption, addThreadOptions, positiveInteger } from '../options.ts';
import { addLanguageOptions, languageOptions, type PairOptions } from '../pair-options.ts';
import { oneLine } from '../text.ts';
import { facts } from '../views/facts.ts';

interface ImportOptions extends PairOptions {
  out: string;
  documents?: string;
  model?: string;
  key?: KeyName;
  keyTensor?: string;
  window?: number;
  stride?: number;
  index?: IndexChoice;
  workers?: number;
  threads?: number;
}

export const importCommand = () =>
  defineCommand<ImportOptions, [keys: string, values: string]>({
    name: 'import',
    summary: 'a store from arrays of keys and values',
    description:
      'Makes a store from keys and values that another program computed with the same model: NumPy files, or the memmaps ' +
      'of knn-transformers and urvashik/knnlm (no header; the width is the model’s). With the JSON list of documents that ' +
      '`knnlm export` writes every entry knows its document again, and some are read once more to see whether the model gives ' +
      'the same keys; without it all rows are one document.',
    examples: [
      [
        'knnlm import arrays/dstore_llama_9000_256_keys.npy arrays/dstore_llama_9000_256_vals.npy --documents arrays/dstore_llama_9000_256_documents.json --out notes.knn',
        'what knnlm export wrote',
      ],
      [
        'knnlm import dstore_gpt2_116988150_768_keys.npy dstore_gpt2_116988150_768_vals.npy --model openai-community/gpt2 --out wikitext.knn',
        'a datastore of knn-transformers',
      ],
    ],
    onInterrupt:
      'Stopping; the same command goes on from what is stored. Ctrl-C again ends at once.',
    configure(command) {
      command
        .argument('<keys>', 'file of the keys (n, d), fp16 or fp32')
        .argument('<values>', 'file of the values (n), int16, int32 or int64')
        .requiredOption('-o, --out <store>', 'folder to write')
        .option('--documents <file>', 'list of the documents')
        .option('-m, --model <model>', 'the model that made the keys (default: wiki-mini-2)')
        .addOption(
          new Option(
            '--key <key>',
            "which of the model's tensors they are (default: ffn-input)",
          ).choices(KEY_NAMES),
        )
        .addOption(
          new Option('--key-tensor <name>', 'a graph tensor by name instead').conflicts('key'),
        )
        .addOption(
          new Option(
            '--window <n>',
            "positions that were read at once (default: the list's, else the model's context, at most 1024)",
          ).argParser(positiveInteger),
        )
        .addOption(
          new Option(
            '--stride <n>',
            "positions from one window to the next (default: the list's, else half the window)",
          ).argParser(positiveInteger),
        );
      command.optionsGroup('Pairs, where an encoder-decoder made the keys:');
      addLanguageOptions(command);
      command.optionsGroup('Machine:');
      addIndexOption(command, 'from some 200,000 entries on');
      addThreadOptions(command);
    },
    async run([keys, values], { documents, ...options }, { screen, signal }) {
      const result = await importDatastore(
        { keys, values, documents },
        {
          ...options,
          pairs: languageOptions(options),
          onProgress: screen.progress,
          onDownload: screen.download,
          onWarning: (message) => screen.warn(message),
          signal,
        },
      );
      screen.result(result, () =>
        facts(
          [
            [
              'store',
              `${oneLine(options.out)}: ${counted(result.documents, 'document')}, ${count(result.entries)} entries`,
            ],
            [
              'keys',
              result.keyDifference === null
                ? 'not compared with the model’s: the documents are not known'
                : `compared with the model's: ${percent(result.keyDifference)} apart`,
            ],
            ['time', duration(result.seconds)],
          ],
          screen.colors,
        ),
      );
    },
  });
