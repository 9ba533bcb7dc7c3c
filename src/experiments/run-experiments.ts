/**
 * Runs experiments one after another and writes the report. Each result is kept as soon as it is there: a run that was
 * stopped goes on after the last finished experiment when it is started again with the same settings and texts.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, cpus } from 'node:os';
import { join } from 'node:path';
import { ioError, KnnLMError } from '../errors.ts';
import { loadModel } from '../model/load-model.ts';
import { drawChart } from './charts.ts';
import { digest } from './corpus.ts';
import { EXPERIMENTS } from './experiments.ts';
import { Lab } from './lab.ts';
import { reportMarkdown } from './markdown.ts';
import { reportPage } from './report.ts';
import type {
  Experiment,
  ExperimentOptions,
  ExperimentResult,
  ExperimentStep,
  SkippedExperiment,
} from './types.ts';

/** What results.json holds. */
export interface ExperimentReport {
  version: string;
  model: string;
  machine: string;
  /** The command line that gives this report. */
  command: string;
  /** Of everything that the results depend on. */
  settings: string;
  maxTokens: number;
  experiments: (ExperimentResult | SkippedExperiment)[];
}

export const EXPERIMENT_NAMES: readonly string[] = EXPERIMENTS.map(({ name }) => name);

/**
 * @param names of experiments, or `all`
 * Errors: `INVALID_ARGUMENT` for an unknown name or one that lacks its models, `NO_DOCUMENTS`, `ABORTED`, `IO`, those of building and opening.
 */
export async function runExperiments(
  names: readonly string[],
  options: ExperimentOptions,
): Promise<ExperimentReport> {
  const wanted = chosen(names, options);
  const file = join(options.out, 'results.json');
  const probe = new Lab(options, '');
  const settings = await settingsHash(probe);
  const kept = await readReport(file, settings);
  await dropOtherModels(kept, options);
  const work = join(options.out, 'work', settings.slice(0, 12));
  const lab = new Lab(options, work);
  const report: ExperimentReport = {
    version: await version(),
    model: lab.model,
    machine: `${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${availableParallelism()} threads, Node ${process.version}`,
    command: commandLine(names, options),
    settings,
    maxTokens: lab.maxTokens,
    experiments: kept,
  };
  try {
    await runAll(wanted, lab, report, () => writeReport(options.out, report));
  } finally {
    await lab.close();
  }
  await writeReport(options.out, report);
  await rm(join(options.out, 'work'), { recursive: true, force: true });
  return report;
}

async function runAll(
  wanted: readonly Experiment[],
  lab: Lab,
  report: ExperimentReport,
  save: () => Promise<void>,
): Promise<void> {
  const { options } = lab;
  const isKept = ({ name }: Experiment): boolean =>
    report.experiments.some((x) => x.name === name && !('skipped' in x));
  let spent = 0;
  let weightDone = 0;
  for (const [i, experiment] of wanted.entries()) {
    const { name, title, weight } = experiment;
    const left = wanted.slice(i).filter((x) => !isKept(x) && !x.unready?.(options));
    const perWeight = weightDone > 0 ? spent / weightDone : undefined;
    const step = (state: ExperimentStep['state']): void =>
      options.onStep?.({
        ...{ name, state, number: i + 1, of: wanted.length },
        ...(perWeight && {
          secondsLeft: perWeight * left.reduce((sum, x) => sum + x.weight, 0),
        }),
      });
    if (isKept(experiment)) {
      step('kept');
      continue;
    }
    const skipped = experiment.unready?.(options);
    if (skipped) {
      place(report, { name, title, skipped });
      step('skipped');
      continue;
    }
    if (options.signal?.aborted) throw new KnnLMError('ABORTED', 'The experiments were stopped.');
    step('running');
    const started = performance.now();
    const result = await experiment.run(lab);
    const seconds = (performance.now() - started) / 1000;
    spent += seconds;
    weightDone += weight;
    const models = await comparedModels(experiment, options);
    place(report, { name, title, ...result, ...(models && { models }), seconds });
    await save();
    step('done');
  }
}

/** In the paper's order, replacing an older result of that name. */
function place(report: ExperimentReport, result: ExperimentResult | SkippedExperiment): void {
  const rest = report.experiments.filter(({ name }) => name !== result.name);
  const order = (x: { name: string }): number => EXPERIMENT_NAMES.indexOf(x.name);
  report.experiments = [...rest, result].sort((a, b) => order(a) - order(b));
}

function chosen(names: readonly string[], options: ExperimentOptions): Experiment[] {
  if (names.includes('all')) return [...EXPERIMENTS];
  return [...new Set(names)].map((name) => {
    const experiment = EXPERIMENTS.find((x) => x.name === name);
    if (!experiment) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `There is no experiment ${JSON.stringify(name)}. There are: ${EXPERIMENT_NAMES.join(', ')}, and all.`,
      );
    }
    const unready = experiment.unready?.(options);
    if (unready) {
      throw new KnnLMError('INVALID_ARGUMENT', `${name} cannot run yet. ${unready}`);
    }
    return experiment;
  });
}

/** Equal settings, texts, models and versions give equal results. */
async function settingsHash(lab: Lab): Promise<string> {
  const weights = [await weightsHash(lab.model)];
  const texts = [(await lab.corpus('domain')).hash, (await lab.corpus('trained')).hash];
  return digest([await version(), String(lab.maxTokens), ...weights, ...texts]);
}

/** Of an experiment that compares models of its own. */
async function comparedModels(
  { unready }: Experiment,
  { modelSmall, modelLarge }: ExperimentOptions,
): Promise<string[] | undefined> {
  if (!unready || !modelSmall || !modelLarge) return undefined;
  return [await weightsHash(modelSmall), await weightsHash(modelLarge)];
}

/** The one experiment that depends on more than the others. */
async function dropOtherModels(
  kept: ExperimentReport['experiments'],
  { modelSmall, modelLarge }: ExperimentOptions,
): Promise<void> {
  const at = kept.findIndex((x) => 'models' in x);
  const old = kept[at];
  if (!old || 'skipped' in old || !modelSmall || !modelLarge) return;
  const models = [await weightsHash(modelSmall), await weightsHash(modelLarge)];
  if (old.models?.join() !== models.join()) kept.splice(at, 1);
}

async function weightsHash(model: string): Promise<string> {
  const loaded = await loadModel(model);
  try {
    const { weights, tokenizer } = loaded.info.fingerprint;
    return weights + tokenizer;
  } finally {
    await loaded.close();
  }
}

async function readReport(
  path: string,
  settings: string,
): Promise<ExperimentReport['experiments']> {
  try {
    const report = JSON.parse(await readFile(path, 'utf8')) as ExperimentReport;
    return report.settings === settings ? report.experiments : [];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT' || error instanceof SyntaxError)
      return [];
    throw ioError('read', path, error);
  }
}

/** results.json, the pictures and the page (HTML and Markdown), each replaced whole. */
async function writeReport(out: string, report: ExperimentReport): Promise<void> {
  const pictures = new Map<string, string>();
  for (const result of report.experiments) {
    if ('skipped' in result) continue;
    for (const chart of result.charts) pictures.set(chart.name, await drawChart(chart));
  }
  try {
    await mkdir(join(out, 'charts'), { recursive: true });
    for (const [name, svg] of pictures) await replace(join(out, 'charts', `${name}.svg`), svg);
    await replace(join(out, 'results.json'), `${JSON.stringify(report, null, 2)}\n`);
    await replace(join(out, 'report.md'), reportMarkdown(report));
    await replace(join(out, 'index.html'), reportPage(report, pictures));
  } catch (error) {
    throw ioError('write the report into', out, error);
  }
}

async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.tmp`, text);
  await rename(`${path}.tmp`, path);
}

async function version(): Promise<string> {
  const file = new URL('../../package.json', import.meta.url);
  return JSON.parse(await readFile(file, 'utf8')).version;
}

function commandLine(names: readonly string[], options: ExperimentOptions): string {
  const { model, modelSmall, modelLarge, domain, trained, maxTokens, quick, out } = options;
  const given: [string, string | readonly string[] | number | boolean | undefined][] = [
    ['--model', model],
    ['--model-small', modelSmall],
    ['--model-large', modelLarge],
    ['--docs', domain?.documents],
    ['--held-out', domain?.heldOut],
    ['--trained', trained?.documents],
    ['--trained-held-out', trained?.heldOut],
    ['--max-tokens', maxTokens],
    ['--quick', quick],
    ['--out', out],
  ];
  const words = given.flatMap(([flag, value]) => {
    if (value === undefined || value === false) return [];
    return value === true ? [flag] : [flag, ...[value].flat().map(String)];
  });
  return ['knnlm experiment', ...names, ...words].join(' ');
}
