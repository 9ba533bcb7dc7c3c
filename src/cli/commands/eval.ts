/** `knnlm eval`: perplexity of held-out text, for the model alone and with the store, in one pass. */
import { Option } from 'commander';
import { readDocuments } from '../../datastore/sources/read-documents.ts';
import { openKnnLM } from '../../open.ts';
import { defineCommand } from '../command.ts';
import {
  addDocumentOptions,
  addGateOption,
  addMachineOptions,
  addRetrievalOptions,
  collect,
  type DocumentOptions,
  documentOptions,
  type MachineOptions,
  machineOptions,
  positiveInteger,
  type RetrievalOptions,
  retrievalSettings,
} from '../options.ts';
import { evaluationText } from '../views/evaluation.ts';

interface EvalOptions extends RetrievalOptions, MachineOptions, DocumentOptions {
  maxTokens?: number;
  exclude?: string[];
}

export const evalCommand = () =>
  defineCommand<EvalOptions, [store: string, inputs: string[]]>({
    name: 'eval',
    summary: 'perplexity of a text, for the model alone and with the memory',
    description:
      'Scores every token of held-out text once, with the model alone and with the memory, and reports perplexity per ' +
      'token, per word and bits per byte of both, the share of tokens helped and hurt, and a bootstrap interval.',
    examples: [
      ['knnlm eval notes.knn held-out.txt', "with the store's own settings"],
      ['knnlm eval notes.knn held-out/ --k 64 --lambda 0.5', 'with others'],
      ['knnlm eval notes.knn held-out.jsonl --json | jq .knnlm.perplexity', 'one number'],
    ],
    configure(command) {
      command
        .argument('<store>', 'folder of the store')
        .argument('<text...>', 'files, folders, globs or - for standard input')
        .addOption(
          new Option('--max-tokens <n>', 'stop after so many tokens').argParser(positiveInteger),
        )
        .option('--exclude <id>', 'a document not to retrieve from (repeatable)', collect);
      addDocumentOptions(command);
      addRetrievalOptions(command, "default: the store's");
      addGateOption(command);
      addMachineOptions(command);
    },
    async run([store, inputs], options, { screen, signal }) {
      const documents = readDocuments(inputs, {
        ...documentOptions(options),
        onSkip: screen.skipped,
        signal,
      });
      const memory = await openKnnLM(store, {
        ...machineOptions(options),
        onDownload: screen.download,
        signal,
      });
      try {
        const evaluation = await memory.evaluate(documents, {
          ...retrievalSettings(options),
          maxTokens: options.maxTokens,
          excludeDocuments: options.exclude,
          onProgress: screen.progress,
          signal,
        });
        screen.result(evaluation, () => evaluationText(evaluation, screen.colors));
      } finally {
        await memory.close();
      }
    },
  });
