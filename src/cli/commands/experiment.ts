/** `knnlm experiment`: the findings of the paper, run here, as a page. */
import { join } from 'node:path';
import { Option } from 'commander';
import { KnnLMError } from '../../errors.ts';
import { EXPERIMENT_NAMES, runExperiments } from '../../experiments/run-experiments.ts';
import type { ExperimentStep, TextInputs } from '../../experiments/types.ts';
import { defineCommand } from '../command.ts';
import { duration } from '../numbers.ts';
import { addThreadOptions, positiveInteger } from '../options.ts';
import type { Screen } from '../screen.ts';
import { experimentText } from '../views/experiment.ts';

interface ExperimentCommandOptions {
  out: string;
  model?: string;
  modelSmall?: string;
  modelLarge?: string;
  docs?: string[];
  heldOut?: string[];
  trained?: string[];
  trainedHeldOut?: string[];
  maxTokens?: number;
  quick?: boolean;
  workers?: number;
  threads?: number;
}

export const experimentCommand = () =>
  defineCommand<ExperimentCommandOptions, [names: string[]]>({
    name: 'experiment',
    summary: "run the paper's experiments and write a page about them",
    description:
      'Runs the experiments of Khandelwal et al. (2020) on your model and text, or offline on the bundled ones, and writes a page ' +
      'with charts (index.html, report.md), the numbers (results.json) and the pictures (charts/). Each statement of the paper is held ' +
      'against what was measured, with a 95% interval. Stopped, it goes on where it was: finished experiments are kept.\n\n' +
      `Experiments: ${EXPERIMENT_NAMES.join(', ')}, or all.`,
    examples: [
      ['knnlm experiment all --quick', 'see it in a few minutes, with wide intervals'],
      ['knnlm experiment all --out report', 'everything, with the bundled model and text'],
      ['knnlm experiment k size --docs books/ --model ./my-model', 'two of them on your own'],
    ],
    onInterrupt:
      'Stopping. Finished experiments are kept; the same command goes on. Ctrl-C again ends at once.',
    configure(command) {
      command
        .argument('<name...>', 'experiments, or all')
        .option('-o, --out <folder>', 'folder for the report', 'knnlm-report')
        .option('--docs <path...>', 'text the model has not read (default: pharmacology sections)')
        .option(
          '--held-out <path...>',
          'text of that kind to score (default: a sixth of the documents)',
        )
        .option(
          '--trained <path...>',
          'text of the kind the model was trained on (default: Wikipedia articles)',
        )
        .option('--trained-held-out <path...>', 'text of that kind to score (default: likewise)')
        .option('--model <model>', 'folder, hub id or bundled name (default: wiki-mini-2)')
        .option('--model-small <model>', 'retrieve-vs-train: the model trained on less text')
        .option('--model-large <model>', 'retrieve-vs-train: the model trained on more')
        .addOption(
          new Option(
            '--max-tokens <n>',
            'tokens to tune on, and to report on, of each text (default: 20000)',
          ).argParser(positiveInteger),
        )
        .option('--quick', 'small stores and little text');
      addThreadOptions(command);
    },
    async run([names], options, { screen, signal }) {
      const { out, model, modelSmall, modelLarge, maxTokens, quick, workers, threads } = options;
      const report = await runExperiments(names, {
        ...{ out, model, modelSmall, modelLarge, maxTokens, quick, workers, threads },
        domain: texts('--docs', options.docs, options.heldOut),
        trained: texts('--trained', options.trained, options.trainedHeldOut),
        onProgress: screen.progress,
        onStep: (step) => showStep(step, screen),
        signal,
      });
      screen.result(report, () => experimentText(report, join(out, 'index.html'), screen.colors));
    },
  });

function texts(
  option: string,
  documents: string[] | undefined,
  heldOut: string[] | undefined,
): TextInputs | undefined {
  if (documents) return { documents, heldOut };
  if (!heldOut) return undefined;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `Held-out text without documents of its kind: ${heldOut.join(' ')}. Give them with ${option}.`,
  );
}

function showStep({ name, number, of, state, secondsLeft }: ExperimentStep, screen: Screen): void {
  if (state === 'done') return;
  const left = state === 'running' && secondsLeft ? `, about ${duration(secondsLeft)} left` : '';
  const words = { running: '', kept: ' (kept from before)', skipped: ' (skipped)' }[state];
  screen.note(screen.errorColors.dim(`[${number} of ${of}] ${name}${words}${left}`));
}
