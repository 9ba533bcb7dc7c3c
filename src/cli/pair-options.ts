/** Options of pairs of a source and its target, which encoder-decoder models read instead of texts. */
import type { Command } from 'commander';
import type { KnnLM } from '../knnlm/knnlm.ts';
import { storedPairInputs } from '../open.ts';
import { collect } from './options.ts';

export interface TargetOptions {
  targets?: string[];
}

export interface PairOptions extends TargetOptions {
  sourcePrefix?: string;
  sourceLanguage?: string;
  targetLanguage?: string;
}

/** `--targets`, for the commands that read more pairs for a store that holds some. */
export function addTargetsOption(command: Command): Command {
  return command.option(
    '--targets <file>',
    'of a store of pairs: a file whose line n is the target of line n of the other file (repeatable: one for each)',
    collect,
  );
}

/** What an encoder-decoder must be told of sources and targets. */
export function addLanguageOptions(command: Command): Command {
  return command
    .option(
      '--source-prefix <text>',
      'text before every source, such as "translate English to German: " for T5',
    )
    .option(
      '--source-language <name>',
      'of a model for many languages, as its tokenizer names it: en, eng_Latn',
    )
    .option('--target-language <name>', 'the same of the targets: de, deu_Latn');
}

/** What the model is told. */
export function languageOptions({ sourcePrefix, sourceLanguage, targetLanguage }: PairOptions) {
  return {
    ...(sourcePrefix !== undefined && { sourcePrefix }),
    ...(sourceLanguage !== undefined && { sourceLanguage }),
    ...(targetLanguage !== undefined && { targetLanguage }),
  };
}

/** How held-out documents are read for open stores: as pairs when these hold pairs. Errors: `INVALID_ARGUMENT`. */
export const pairsFor = (memory: KnnLM, { targets }: TargetOptions) =>
  storedPairInputs(memory.datastore.path, memory.info, targets);
