/**
 * What the experiments share: the two texts, stores made of them, and neighbors retrieved once. Stores are ordinary
 * datastores in a work folder, so that a run that was stopped goes on with them.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SourceDocument } from '../datastore/types.ts';
import { ioError } from '../errors.ts';
import { collectNeighbors } from '../knnlm/collect-neighbors.ts';
import { DEFAULT_SETTINGS } from '../knnlm/interpolate.ts';
import type { KnnLM } from '../knnlm/knnlm.ts';
import type { Retriever } from '../knnlm/retriever.ts';
import type { IdRange } from '../math/vectors.ts';
import { buildDatastore, DEFAULT_MODEL, openKnnLM } from '../open.ts';
import { type Corpus, readCorpus } from './corpus.ts';
import type { Fit } from './fit.ts';
import { runFit } from './run-fit.ts';
import { type TextWindow, textWindows } from './text-windows.ts';
import type { ExperimentOptions, StoreKey, TextInputs } from './types.ts';

const DEMO = fileURLToPath(new URL('../../demo/', import.meta.url));
const DEFAULT_DOMAIN: TextInputs = {
  documents: [join(DEMO, 'pharmacology.jsonl'), join(DEMO, 'held-out.jsonl')],
};
const DEFAULT_TRAINED: TextInputs = {
  documents: [join(DEMO, 'wikipedia.jsonl.gz')],
  heldOut: [join(DEMO, 'wikipedia-held-out.jsonl.gz')],
};

const MAX_TOKENS = 20_000;
const QUICK = { maxTokens: 3_000, storedBytes: 120_000 };

/** `domain`: text of a kind the model has not read. `trained`: of the kind it was trained on. */
export type TextName = 'domain' | 'trained';

/** Which store. */
export interface StoreChoice {
  text: TextName;
  /** The documents that are stored, or those that are scored. Default `stored`. */
  part?: 'stored' | 'scored';
  key?: StoreKey;
  /** Default: that of the options. */
  model?: string;
  /** Positions per window. Default: the model's. */
  window?: number;
}

export interface FitChoice {
  /** Whose model reads, and whose datastore is searched. */
  memory: KnnLM;
  /** What is scored. */
  text: TextName;
  /** Instead of the memory's own. */
  retriever?: Retriever;
  /** Entries left out. */
  exclude?: readonly IdRange[];
}

export class Lab {
  readonly options: ExperimentOptions;
  readonly model: string;
  readonly maxTokens: number;
  readonly #work: string;
  readonly #corpora = new Map<TextName, Promise<Corpus>>();
  readonly #memories = new Map<string, Promise<KnnLM>>();
  readonly #fits = new Map<string, Promise<Fit>>();

  constructor(options: ExperimentOptions, work: string) {
    this.options = options;
    this.model = options.model ?? DEFAULT_MODEL;
    this.maxTokens = options.maxTokens ?? (options.quick ? QUICK.maxTokens : MAX_TOKENS);
    this.#work = work;
  }

  /** k in retrieval: the most that is tried. */
  get k(): number {
    return DEFAULT_SETTINGS.k;
  }

  get signal(): AbortSignal | undefined {
    return this.options.signal;
  }

  corpus(text: TextName): Promise<Corpus> {
    return once(this.#corpora, text, () => {
      const { domain = DEFAULT_DOMAIN, trained = DEFAULT_TRAINED, quick } = this.options;
      const storedBytes = quick ? QUICK.storedBytes : Number.POSITIVE_INFINITY;
      return readCorpus(text === 'domain' ? domain : trained, { storedBytes, signal: this.signal });
    });
  }

  /** Opens a store, building it first when need be. It stays open until `close`, or `drop`. */
  memory(choice: StoreChoice): Promise<KnnLM> {
    return once(this.#memories, storeName(choice), () => this.#open(choice));
  }

  /** Closes a store that no other experiment needs, and removes it. */
  async drop(choice: StoreChoice): Promise<void> {
    const name = storeName(choice);
    const memory = this.#memories.get(name);
    this.#memories.delete(name);
    await (await memory)?.close();
    await rm(join(this.#work, name), { recursive: true, force: true });
  }

  /** k, λ and T chosen on one half of a text and measured on the other. */
  fit({ memory, text, retriever, exclude }: FitChoice): Promise<Fit> {
    const run = async (): Promise<Fit> => {
      const { tuning, reporting } = await this.windows(memory, text);
      return await runFit(
        {
          tuning: await this.#collect(tuning, { memory, retriever, exclude }),
          reporting: await this.#collect(reporting, { memory, retriever, exclude }),
        },
        this.signal,
      );
    };
    // The plain ones serve several experiments.
    if (retriever || exclude) return run();
    return once(this.#fits, `${memory.datastore.path} ${text}`, run);
  }

  /** The two halves of what is scored, as a memory's model reads them. */
  async windows(
    memory: KnnLM,
    text: TextName,
  ): Promise<{ tuning: TextWindow[]; reporting: TextWindow[] }> {
    const { tuning, reporting } = await this.corpus(text);
    const { window, stride } = memory.datastore.header;
    const options = { window, stride, most: this.maxTokens };
    return {
      tuning: await textWindows(tuning, memory.model, options),
      reporting: await textWindows(reporting, memory.model, options),
    };
  }

  async close(): Promise<void> {
    const open = [...this.#memories.values()];
    this.#memories.clear();
    await Promise.allSettled(open.map(async (memory) => (await memory).close()));
  }

  async #collect(windows: TextWindow[], choice: Omit<FitChoice, 'text'>) {
    const { memory, retriever = memory.retriever, exclude } = choice;
    const { neighbors } = await collectNeighbors(
      windows,
      { model: memory.model, retriever },
      {
        k: this.k,
        unitIsDocument: false,
        exclude,
        phase: 'retrieving',
        onProgress: this.options.onProgress,
        signal: this.signal,
      },
    );
    return neighbors;
  }

  async #open(choice: StoreChoice): Promise<KnnLM> {
    const { workers, threads, onProgress } = this.options;
    const { model = this.model, key, window, text, part } = choice;
    const { stored, tuning, reporting } = await this.corpus(text);
    const documents = part === 'scored' ? [...tuning, ...reporting] : stored;
    const out = join(this.#work, storeName(choice));
    const input = `${out}.jsonl`;
    const machine = { workers, threads, signal: this.signal };
    try {
      await writeDocuments(input, documents);
      await buildDatastore([input], {
        ...machine,
        ...{ out, model, key, window, onProgress, selfTune: false },
      });
    } finally {
      await rm(input, { force: true });
    }
    return await openKnnLM(out, machine);
  }
}

function storeName({
  text,
  part = 'stored',
  key = 'ffn-input',
  model,
  window,
}: StoreChoice): string {
  const named = [text, part, key, model?.replaceAll(/[^\w.-]+/g, '-').slice(-60), window];
  return named.filter((x) => x !== undefined).join('.');
}

async function writeDocuments(path: string, documents: readonly SourceDocument[]): Promise<void> {
  try {
    await mkdir(join(path, '..'), { recursive: true });
    await writeFile(path, jsonLines(documents));
  } catch (error) {
    throw ioError('write', path, error);
  }
}

function* jsonLines(documents: readonly SourceDocument[]): Generator<string> {
  for (const { id, text } of documents) yield `${JSON.stringify({ id, text })}\n`;
}

/** A failed attempt is forgotten: the next caller tries again. */
function once<T>(made: Map<string, Promise<T>>, name: string, make: () => Promise<T>): Promise<T> {
  let value = made.get(name);
  if (!value) {
    value = make();
    value.catch(() => made.delete(name));
    made.set(name, value);
  }
  return value;
}
