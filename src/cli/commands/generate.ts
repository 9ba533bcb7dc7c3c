/** `knnlm generate`: continues a text with the memory, and says from where each token came. */
import { type Command, Option } from 'commander';
import type { GeneratedToken, GenerateRequest, Generation } from '../../knnlm/generation-types.ts';
import { defineCommand, type Session } from '../command.ts';
import {
  addFailureOption,
  addMemoryOptions,
  type MemoryOptions,
  memoryRequest,
  withMemory,
} from '../memory-options.ts';
import { counted } from '../numbers.ts';
import { collect, number, positiveInteger, share, wholeNumber } from '../options.ts';
import { readPrompt } from '../prompt.ts';
import type { Screen } from '../screen.ts';
import { toJson } from '../text.ts';
import { GenerationPrinter } from '../views/generation.ts';

interface GenerateOptions extends MemoryOptions {
  maxTokens?: number;
  stop?: string[];
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  seed?: number;
  neighbors?: number;
  around?: number;
  sources?: boolean;
  stream?: boolean;
}

/** A person sees the best source of a token only if it is among those kept; a program asks for what it wants. */
export const NEIGHBORS_FOR_SOURCES = 16;

export const generateCommand = () =>
  defineCommand<GenerateOptions, [store: string, prompt?: string]>({
    name: 'generate',
    summary: 'continue a text with the memory, each token traced to its documents',
    description:
      'Continues a text. On a terminal each token has the color of what the memory did to its probability, with footnotes ' +
      'where the memory decided and the sources below. Elsewhere the continuation is printed as plain text.',
    examples: [
      ['knnlm generate notes.knn "The treatment of choice is"', 'a cited continuation'],
      ['echo "Dear reader," | knnlm generate notes.knn --temperature 0.8 --seed 7', 'sampled'],
      [
        'knnlm generate notes.knn "It is" --store letters.knn --store-lambda notes.knn=0.2 --store-lambda letters.knn=0.4',
        'from two stores, each with its own weight',
      ],
      ['knnlm generate notes.knn "It is" --lambda 0', 'the model alone, for comparison'],
      [
        'knnlm generate notes.knn "It is" --json --stream | jq -c "[.text, .p, .pLm]"',
        'a line per token, then one with the whole text',
      ],
    ],
    configure: addGenerateOptions,
    async run([store, argument], options, session) {
      const prompt = await readPrompt(argument);
      await withMemory(store, options, session, async (memory) => {
        const stream = memory.generate(prompt, generateRequest(options, session));
        const generation = await show({ prompt, stream, options, screen: session.screen });
        warnOfFailure(generation, session.screen);
        printJson(generation, options, session.screen);
      });
    },
  });

/** Also where only the text is printed. */
export function warnOfFailure(
  { withoutMemory }: Pick<Generation, 'withoutMemory'>,
  screen: Screen,
): void {
  if (!withoutMemory) return;
  const { tokens, reason } = withoutMemory;
  screen.warn(`${counted(tokens, 'token')} from the model alone, without the memory: ${reason}`);
}

function addGenerateOptions(command: Command): void {
  const option = (flags: string, text: string, parse: (value: string) => number) =>
    command.addOption(new Option(flags, text).argParser(parse));
  command
    .argument('<store>', 'folder of the store, or milvus://host:port/collection')
    .argument('[prompt]', 'the text to continue; - or nothing reads it from standard input');
  option('--max-tokens <n>', 'tokens to write at most (default: 64)', positiveInteger);
  command.option('--stop <text>', 'stop before this text (repeatable)', collect);
  command.optionsGroup('Sampling:');
  option('--temperature <t>', '0 is greedy, higher more random (default: 0)', number({ min: 0 }));
  option('--top-k <n>', 'of the n most probable tokens only (default: 0, all)', wholeNumber);
  option('--top-p <share>', 'of the smallest set this probable (default: 1)', share);
  option('--min-p <share>', "of those with this share of the best's probability", share);
  option(
    '--repetition-penalty <x>',
    'divides the score of tokens already seen; 1 does nothing (default: 1)',
    number({ min: 0, above: true }),
  );
  option('--seed <n>', 'same seed, same text (default: random)', wholeNumber);
  addMemoryOptions(command);
  addFailureOption(command);
  command.optionsGroup('Output:');
  command
    .option('--sources', 'footnotes and sources, when not on a terminal too')
    .option('--no-sources', 'neither');
  option('--neighbors <n>', 'neighbors kept per token (default: 4)', wholeNumber);
  option('--around <n>', 'tokens of text kept around a neighbor (default: 16)', positiveInteger);
  command.option('--stream', 'with --json: a line per token as it comes, then the rest');
}

function generateRequest(options: GenerateOptions, { screen, signal }: Session): GenerateRequest {
  return {
    maxTokens: options.maxTokens,
    stop: options.stop,
    temperature: options.temperature,
    topK: options.topK,
    topP: options.topP,
    minP: options.minP,
    repetitionPenalty: options.repetitionPenalty,
    seed: options.seed,
    knn: memoryRequest(options),
    neighbors: options.neighbors ?? (screen.isJson ? undefined : NEIGHBORS_FOR_SOURCES),
    around: options.around,
    excludeDocuments: options.exclude,
    signal,
  };
}

/** Tokens as they come, for a person, or with `stream` a line of JSON each. @returns the finished generation */
export async function show(parts: {
  prompt: string;
  stream: AsyncGenerator<GeneratedToken, Generation>;
  options: { sources?: boolean; stream?: boolean };
  screen: Screen;
  /** Default: on a terminal, where the prompt can be told from the text. */
  showPrompt?: boolean;
}): Promise<Generation> {
  const { stream, options, screen } = parts;
  const start = performance.now();
  const printer = new GenerationPrinter({
    write: (text) => screen.write(text),
    colors: screen.colors,
    depth: screen.depth,
    columns: screen.isTerminal ? screen.columns : Number.POSITIVE_INFINITY,
    sources: options.sources ?? screen.isTerminal,
  });
  if (!screen.isJson && (parts.showPrompt ?? screen.isTerminal)) printer.prompt(parts.prompt);
  let step = await stream.next();
  for (; !step.done; step = await stream.next()) {
    if (!screen.isJson) printer.token(step.value);
    else if (options.stream) screen.write(`${toJson(step.value)}\n`);
  }
  if (!screen.isJson) printer.end(step.value, (performance.now() - start) / 1000);
  return step.value;
}

/** The whole as one object; after a stream of tokens, what they did not say. */
function printJson(generation: Generation, options: GenerateOptions, screen: Screen): void {
  if (!screen.isJson) return;
  const { tokens, ...rest } = generation;
  screen.write(`${toJson(options.stream ? rest : { ...rest, tokens })}\n`);
}
