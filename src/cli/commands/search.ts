/** `knnlm search`: the stored contexts nearest to a text, and what they say comes next. */
import { Option } from 'commander';
import { defineCommand } from '../command.ts';
import {
  addMemoryOptions,
  type MemoryOptions,
  memoryRequest,
  withMemory,
} from '../memory-options.ts';
import { positiveInteger } from '../options.ts';
import { readPrompt } from '../prompt.ts';
import { searchText } from '../views/search.ts';

interface SearchOptions extends MemoryOptions {
  show?: number;
  around?: number;
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
      ['knnlm search notes.knn "It is" --store letters.knn', 'the nearest in two stores'],
    ],
    configure(command) {
      command
        .argument('<store>', 'folder of the store, or milvus://host:port/collection')
        .argument('[context]', 'the text; - or nothing reads it from standard input')
        .addOption(
          new Option('--show <n>', 'neighbors to show (default: 10)').argParser(positiveInteger),
        )
        .addOption(
          new Option(
            '--around <n>',
            'tokens of text before and after each (default: 16)',
          ).argParser(positiveInteger),
        );
      addMemoryOptions(command, { forTexts: false });
    },
    async run([store, argument], options, session) {
      const { screen, signal } = session;
      const context = await readPrompt(argument);
      const result = await withMemory(store, options, session, (memory) =>
        memory.search(context, {
          ...memoryRequest(options),
          show: options.show,
          around: options.around,
          excludeDocuments: options.exclude,
          signal,
        }),
      );
      screen.result(result, () => searchText(result, screen.colors, screen.columns));
    },
  });
