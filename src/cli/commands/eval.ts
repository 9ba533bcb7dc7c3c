/** `knnlm eval`: perplexity of held-out text, for the model alone and with the store, in one pass. */
import { Option } from 'commander';
import { readDocuments } from '../../datastore/sources/read-documents.ts';
import { SEMANTICS, type Semantics } from '../../knnlm/reference-semantics.ts';
import { defineCommand } from '../command.ts';
import { JsonLinesFile } from '../json-lines-file.ts';
import {
  addFailureOption,
  addMemoryOptions,
  type MemoryOptions,
  memoryRequest,
  withMemory,
} from '../memory-options.ts';
import {
  addDocumentOptions,
  type DocumentOptions,
  documentOptions,
  positiveInteger,
} from '../options.ts';
import { addTargetsOption, pairsFor, type TargetOptions } from '../pair-options.ts';
import { evaluationText } from '../views/evaluation.ts';
import { warnOfFailure } from './generate.ts';

interface EvalOptions extends MemoryOptions, DocumentOptions, TargetOptions {
  maxTokens?: number;
  translate?: boolean;
  beams?: number;
  perToken?: string;
  breakdown?: boolean;
  semantics?: Semantics;
}

export const evalCommand = () =>
  defineCommand<EvalOptions, [store: string, inputs: string[]]>({
    name: 'eval',
    summary: 'perplexity of a text, for the model alone and with the memory',
    description:
      'Scores every token of held-out text once, with the model alone and with the memory, and reports perplexity per ' +
      'token, per word and bits per byte of both, the share of tokens helped and hurt, and a bootstrap interval. With a ' +
      'store of pairs the texts are pairs too, and the tokens are those of the targets; --translate also translates their ' +
      'sources, with the memory and without it, and tells BLEU and chrF. --breakdown tells where the memory helps and hurts: by ' +
      'how often a token stands in the store, how near its neighbors are, where in its document it stands, and of what kind that is.',
    examples: [
      ['knnlm eval notes.knn held-out.txt', "with the store's own settings"],
      ['knnlm eval notes.knn held-out/ --k 64 --lambda 0.5', 'with others'],
      ['knnlm eval notes.knn held-out/ --breakdown --per-token tokens.jsonl', 'where it helps'],
      ['knnlm eval notes.knn held-out/ --no-gate --cache 0.1', 'with the text so far remembered'],
      ['knnlm eval notes.knn held-out/ --adaptive 0.5', 'with half of the searches skipped'],
      ['knnlm eval notes.knn held-out.jsonl --json | jq .knnlm.perplexity', 'one number'],
    ],
    configure(command) {
      command
        .argument('<store>', 'folder of the store, or milvus://host:port/collection')
        .argument('<text...>', 'files, folders, globs or - for standard input')
        .addOption(
          new Option('--max-tokens <n>', 'stop after so many tokens').argParser(positiveInteger),
        )
        .option('--breakdown', 'tell where the memory helps and where it hurts')
        .option('--per-token <file>', 'write what is known of every token as lines of JSON')
        .addOption(
          new Option(
            '--semantics <code>',
            "score with the arithmetic of knn-transformers, or of fairseq (urvashik/knnlm under --fp16), to compare with their numbers; with --k, --lambda and --knn-temperature (default: exact, the program's own)",
          ).choices(SEMANTICS),
        )
        .option('--translate', 'of pairs: translate the sources too, and compare with the targets')
        .addOption(
          new Option(
            '--beams <n>',
            "hypotheses of a translation kept side by side (default: the model's own, else 1)",
          ).argParser(positiveInteger),
        );
      addTargetsOption(addDocumentOptions(command));
      addMemoryOptions(command);
      addFailureOption(command);
    },
    async run([store, inputs], options, session) {
      const { screen, signal } = session;
      const evaluation = await withMemory(store, options, session, async (memory) => {
        const pairs = pairsFor(memory, options);
        const read = readDocuments(inputs, {
          ...documentOptions(options),
          pairs,
          onSkip: screen.skipped,
          signal,
        });
        // Twice, though standard input comes only once.
        const documents = options.translate ? await all(read) : read;
        const knn = memoryRequest(options);
        const shared = { excludeDocuments: options.exclude, onProgress: screen.progress, signal };
        const { maxTokens, beams, breakdown, semantics, perToken } = options;
        const lines = perToken === undefined ? undefined : await JsonLinesFile.open(perToken);
        const scores = await memory
          .evaluate(documents, {
            ...{ ...knn, semantics, maxTokens, breakdown, ...shared },
            ...(lines && { onTokens: (tokens) => lines.write(tokens) }),
          })
          .finally(() => lines?.close());
        if (!options.translate) return scores;
        const translation = await memory.evaluateTranslations(documents, { knn, beams, ...shared });
        return { ...scores, translation };
      });
      warnOfFailure(evaluation, screen);
      screen.result(evaluation, () => evaluationText(evaluation, screen.colors));
    },
  });

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const list: Item[] = [];
  for await (const item of items) list.push(item);
  return list;
}
