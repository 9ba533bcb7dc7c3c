/** `knnlm translate`: translates a text with a memory of pairs, and says from where each token came. */
import { type Command, Option } from 'commander';
import type { TranslateRequest, Translation } from '../../knnlm/generation-types.ts';
import { defineCommand, type Session } from '../command.ts';
import {
  addFailureOption,
  addMemoryOptions,
  type MemoryOptions,
  memoryRequest,
  withMemory,
} from '../memory-options.ts';
import { number, positiveInteger, wholeNumber } from '../options.ts';
import { readPrompt } from '../prompt.ts';
import type { Screen } from '../screen.ts';
import { toJson } from '../text.ts';
import { GenerationPrinter } from '../views/generation.ts';
import { NEIGHBORS_FOR_SOURCES, warnOfFailure } from './generate.ts';

interface TranslateOptions extends MemoryOptions {
  beams?: number;
  lengthPenalty?: number;
  maxTokens?: number;
  neighbors?: number;
  around?: number;
  sources?: boolean;
}

export const translateCommand = () =>
  defineCommand<TranslateOptions, [store: string, text?: string]>({
    name: 'translate',
    summary: 'translate a text with a memory of pairs, each token traced to its pairs',
    description:
      'Translates each line of a text with a store of pairs (build --pairs) and the encoder-decoder it was built with ' +
      '(Khandelwal et al. 2021): the next token of the target is predicted by the model and by the stored targets whose ' +
      'decoder was in the most similar states. On a terminal, colors show what the memory did to each token, and the pairs it ' +
      'came from are listed with their sources. Elsewhere there is a line for each line.',
    examples: [
      ['knnlm translate law.knn "Der Vertrag ist nichtig."', 'a translation with its sources'],
      ['knnlm translate law.knn --beams 5 < contract.de > contract.en', 'a file, line by line'],
      ['knnlm translate law.knn "Der Vertrag ist nichtig." --lambda 0', 'the model alone'],
    ],
    configure: addTranslateOptions,
    async run([store, argument], options, session) {
      const lines = (await readPrompt(argument)).split(/\r?\n/);
      await withMemory(store, options, session, async (memory) => {
        for (const line of lines) {
          const start = performance.now();
          const translation =
            line.trim() === ''
              ? undefined
              : await memory.translate(line, request(options, session));
          show(translation, (performance.now() - start) / 1000, options, session.screen);
          if (translation) warnOfFailure(translation, session.screen);
        }
      });
    },
  });

function addTranslateOptions(command: Command): void {
  const option = (flags: string, text: string, parse: (value: string) => number) =>
    command.addOption(new Option(flags, text).argParser(parse));
  command
    .argument('<store>', 'folder of the store, or milvus://host:port/collection')
    .argument('[text]', 'the text to translate; - or nothing reads it from standard input');
  option(
    '--beams <n>',
    "hypotheses kept side by side; 1 is greedy (default: the model's own, else 1)",
    positiveInteger,
  );
  option(
    '--length-penalty <x>',
    "higher favors longer translations (default: the model's own, else 1)",
    number({}),
  );
  option(
    '--max-tokens <n>',
    'tokens of a translation at most (default: twice the source and 32 more)',
    positiveInteger,
  );
  addMemoryOptions(command, { forTexts: false });
  addFailureOption(command);
  command.optionsGroup('Output:');
  command
    .option('--sources', 'footnotes and sources, when not on a terminal too')
    .option('--no-sources', 'neither');
  option('--neighbors <n>', 'neighbors kept per token (default: 4)', wholeNumber);
  option('--around <n>', 'tokens of text kept around a neighbor (default: 16)', positiveInteger);
}

function request(options: TranslateOptions, { screen, signal }: Session): TranslateRequest {
  return {
    beams: options.beams,
    lengthPenalty: options.lengthPenalty,
    maxTokens: options.maxTokens,
    knn: memoryRequest(options),
    neighbors: options.neighbors ?? (screen.isJson ? undefined : NEIGHBORS_FOR_SOURCES),
    around: options.around,
    excludeDocuments: options.exclude,
    signal,
  };
}

/** A line for a line: an empty one stays empty, and is no translation in JSON. */
function show(
  translation: Translation | undefined,
  seconds: number,
  { sources }: TranslateOptions,
  screen: Screen,
): void {
  if (screen.isJson) {
    if (translation) screen.write(`${toJson(translation)}\n`);
    return;
  }
  if (!translation) {
    screen.write('\n');
    return;
  }
  const printer = new GenerationPrinter({
    write: (text) => screen.write(text),
    colors: screen.colors,
    depth: screen.depth,
    columns: screen.isTerminal ? screen.columns : Number.POSITIVE_INFINITY,
    sources: sources ?? screen.isTerminal,
  });
  for (const token of translation.tokens) printer.token(token);
  printer.end(translation, seconds);
}
