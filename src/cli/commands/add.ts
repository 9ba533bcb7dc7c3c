/** `knnlm add`: more documents into a store. */
import type { Command } from 'commander';
import type { IndexChoice } from '../../knnlm/keep-indexed.ts';
import type { Device } from '../../model/device.ts';
import { type AddRequest, addDocuments } from '../../open.ts';
import { defineCommand } from '../command.ts';
import {
  addDocumentOptions,
  addIndexOption,
  addThreadOptions,
  type DocumentOptions,
  documentOptions,
} from '../options.ts';
import { addTargetsOption, type TargetOptions } from '../pair-options.ts';
import type { Screen } from '../screen.ts';
import { addSummary } from '../views/changes.ts';
import { showPlan } from './build.ts';

export interface AddCommandOptions extends DocumentOptions, TargetOptions {
  model?: string;
  workers?: number;
  threads?: number;
  device?: Device;
  index?: IndexChoice;
}

export const addCommand = () =>
  defineCommand<AddCommandOptions, [store: string, inputs: string[]]>({
    name: 'add',
    summary: 'read more documents into a store',
    description:
      'Reads more documents into a store, with the model it was built with. Documents that it holds already are passed ' +
      'over, so an add that was stopped goes on when the same command is run again. They are found by the next search; ' +
      'whoever has the store open goes on undisturbed.',
    examples: [
      ['knnlm add notes.knn notes/2026/', 'every new document in a folder'],
      ['cat report.txt | knnlm add notes.knn -', 'standard input as one document'],
    ],
    onInterrupt:
      'Stopping; what is stored stays, and the same command goes on from there. Ctrl-C again ends at once.',
    configure: configureAdd,
    async run([store, inputs], options, { screen, signal }) {
      const result = await addDocuments(store, inputs, addRequest(store, options, screen, signal));
      screen.result(result, () => addSummary(result, store, screen.colors));
    },
  });

export function configureAdd(command: Command): void {
  command
    .argument('<store>', 'folder of the store')
    .argument('<docs...>', 'files, folders, globs or - for standard input');
  addTargetsOption(addDocumentOptions(command));
  command
    .optionsGroup('Machine:')
    .option(
      '--model <model>',
      "the store's model, where it lies now: folder, hub id or bundled name (default: as at build)",
    );
  addIndexOption(command, 'when newer entries have become many beside the indexed ones');
  addThreadOptions(command);
}

export const addRequest = (
  store: string,
  options: AddCommandOptions,
  screen: Screen,
  signal: AbortSignal,
): AddRequest => ({
  model: options.model,
  workers: options.workers,
  threads: options.threads,
  device: options.device,
  index: options.index,
  ...documentOptions(options),
  targets: options.targets,
  onPlan: (plan) => showPlan(plan, store, screen),
  onProgress: screen.progress,
  onDownload: screen.download,
  onWarning: (message) => screen.warn(message),
  onSkip: screen.skipped,
  signal,
});
