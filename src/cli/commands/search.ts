/** `knnlm search`: the stored contexts nearest to a text, and what they say comes next. */
import { Option } from 'commander';
import { openKnnLM } from '../../open.ts';
import { defineCommand } from '../command.ts';
import {
  addGateOption,
  addMachineOptions,
  addRetrievalOptions,
  collect,
  type MachineOptions,
  machineOptions,
  positiveInteger,
  type RetrievalOptions,
  retrievalSettings,
} from '../options.ts';
import { readPrompt } from '../prompt.ts';
import { searchText } from '../views/search.ts';

interface SearchOptions extends RetrievalOptions, MachineOptions {
  show?: number;
  around?: number;
  exclude?: string[];
}

export const searchCommand = () =>
  defineCommand<SearchOptions, [store: string, context?: string]>({
    name: 'search',
    summary: 'the stored contexts nearest to a text, and what came next in them',
    description:
      'Finds the stored contexts nearest to a text and shows what came next in each, with document, position, squared L2 ' +
      'distance and weight, and the most probable next tokens under the mixture, the model and the memory.',
    examples: [
      ['knnlm search notes.knn "The treatment of choice is"', 'ten neighbors'],
      ['knnlm search notes.knn "The treatment of choice is" --show 50 --json', 'fifty, as JSON'],
    ],
    configure(command) {
      command
        .argument('<store>', 'folder of the store')
        .argument('[context]', 'the text; - or nothing reads it from standard input')
        .addOption(
          new Option('--show <n>', 'neighbors to show (default: 10)').argParser(positiveInteger),
        )
        .addOption(
          new Option(
            '--around <n>',
            'tokens of text before and after each (default: 16)',
          ).argParser(positiveInteger),
        )
        .option('--exclude <id>', 'a document not to retrieve from (repeatable)', collect);
      addRetrievalOptions(command, "default: the store's");
      addGateOption(command);
      addMachineOptions(command);
    },
    async run([store, argument], options, { screen, signal }) {
      const context = await readPrompt(argument);
      const memory = await openKnnLM(store, {
        ...machineOptions(options),
        onDownload: screen.download,
        signal,
      });
      try {
        const result = await memory.search(context, {
          ...retrievalSettings(options),
          show: options.show,
          around: options.around,
          excludeDocuments: options.exclude,
          signal,
        });
        screen.result(result, () => searchText(result, screen.colors, screen.columns));
      } finally {
        await memory.close();
      }
    },
  });
