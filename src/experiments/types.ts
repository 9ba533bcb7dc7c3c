/** What an experiment is and what it gives: rows, claims with a verdict, charts. Plain data, so that it can be kept as JSON. */
import type { KeyName } from '../model/language-model.ts';
import type { LineChart, RangeChart } from './charts.ts';
import type { Lab } from './lab.ts';

/** Documents that a store is made of, and documents of the same kind that are scored. */
export interface TextInputs {
  /** Files, folders or globs. */
  documents: readonly string[];
  /** Text that is scored; without it about a sixth of the documents are held out. */
  heldOut?: readonly string[];
}

export interface ExperimentOptions {
  /** Folder for the report; finished experiments found there are kept. */
  out: string;
  /** A folder, a hub id or a bundled model. Default `wiki-mini-2`. */
  model?: string;
  /** For `retrieve-vs-train`: trained on little text, and on more. */
  modelSmall?: string;
  modelLarge?: string;
  /** Text of a kind the model has not read. Default: the pharmacology sections in `demo/`. */
  domain?: TextInputs;
  /** Text of the kind the model was trained on. Default: the Wikipedia articles in `demo/`. */
  trained?: TextInputs;
  /** Held-out targets to tune on, and as many to report on, of each text. Default 20,000; quick: 3,000. */
  maxTokens?: number;
  /** Small stores and little text: a minute or two, wide intervals. */
  quick?: boolean;
  workers?: number;
  threads?: number;
  /** Told of every step within an experiment. */
  onProgress?: (progress: {
    done: number;
    total?: number;
    unit: 'tokens' | 'documents' | 'bytes' | 'entries';
    phase: string;
  }) => void;
  /** Told before and after each experiment. */
  onStep?: (step: ExperimentStep) => void;
  signal?: AbortSignal;
}

export interface ExperimentStep {
  name: string;
  /** From 1. */
  number: number;
  of: number;
  state: 'running' | 'done' | 'kept' | 'skipped';
  /** Estimate for this one and those after it; undefined before anything was timed. */
  secondsLeft?: number;
}

/** A row of an experiment's table: one way of predicting the same text. */
export interface ResultRow {
  name: string;
  perplexity: number;
  /** 95% bootstrap interval over windows of text. */
  interval: [number, number];
  k?: number;
  lambda?: number;
  temperature?: number;
  /** Entries searched. */
  entries?: number;
}

export type Verdict = 'shown' | 'not shown' | 'opposite';

/** A statement of the paper, held against what was measured here. */
export interface Claim {
  statement: string;
  verdict: Verdict;
  /** What was measured, with its interval. */
  measured: string;
  /** Where it is not shown: what the numbers say about the reason. */
  why?: string;
}

/** Numbers printed in the paper. */
export interface PaperNumbers {
  /** Such as `Table 1`. */
  where: string;
  setting: string;
  rows: (readonly [name: string, perplexity: string])[];
}

export type ChartSpec = RangeChart | LineChart;

export interface ExperimentResult {
  name: string;
  title: string;
  question: string;
  /** What was stored and scored, in words with figures. */
  setup: string;
  paper: PaperNumbers;
  rows: ResultRow[];
  claims: Claim[];
  charts: ChartSpec[];
  /** Fingerprints of the models it compared, where those are not the report's one. */
  models?: string[];
  /** Wall time. */
  seconds: number;
}

/** An experiment that could not run, and why. */
export interface SkippedExperiment {
  name: string;
  title: string;
  skipped: string;
}

export interface Experiment {
  name: string;
  title: string;
  /** Share of the time of all, roughly, for the estimate. */
  weight: number;
  /** Why it cannot run with these options; undefined when it can. */
  unready?: (options: ExperimentOptions) => string | undefined;
  run: (lab: Lab) => Promise<Omit<ExperimentResult, 'name' | 'title' | 'models' | 'seconds'>>;
}

/** Which keys a store of an experiment has. */
export type StoreKey = KeyName;
