/**
 * Reads the texts of many decoders with one model, one run after another. All who wait for the next token share a run
 * (`step-reader.ts`); longer texts take turns with those steps, in pieces while there are others.
 *
 * A text that is read alone is read as if there could be no others: by the same runs, to the same bits. Beside others, products
 * have other shapes and round differently, by some 10⁻⁶ of a state in float32.
 */
import { KnnLMError } from '../../errors.ts';
import type { NextToken, ReadStates } from '../language-model.ts';
import type { ModelGraphs } from '../model-graphs.ts';
import type { EncodedSources } from '../source-encoder.ts';
import type { CacheBlock } from './cache-block.ts';
import { CacheMemory, IDLE_MS } from './cache-memory.ts';
import { freshState, GraphDecoder } from './graph-decoder.ts';
import { openStepReader } from './open-step-reader.ts';
import { Pace } from './pace.ts';
import { type ReadRequest, Sequence } from './sequence.ts';
import type { StepReader } from './step-reader.ts';

/** Tokens of a text that are read at once while there are others: as long a pause in their streams as a few steps. */
const PROMPT_TOKENS = 128;

export class Decoding {
  readonly #graphs: ModelGraphs;
  readonly #decoder: GraphDecoder;
  readonly #sequences = new Map<number, Sequence>();
  readonly #open = new Set<Sequence>();
  /** Those of whom something is asked. Whoever has been served goes to the end. */
  readonly #waiting = new Set<Sequence>();
  readonly #memory: CacheMemory;
  /** Undefined until two wait for the same thing; null when the model's steps cannot be shared. */
  #steps: StepReader | null | undefined;
  #opening: Promise<void> | undefined;
  #nextId = 1;
  #running = false;
  /** Somebody asked since the last look at who waits: between that and its end nobody else would see it. */
  #woken = false;
  #promptsTurn = false;
  readonly #pace = new Pace();
  /** When a block that waits for its other texts has waited enough. */
  #patientUntil = Number.POSITIVE_INFINITY;
  #retry: NodeJS.Timeout | undefined;

  constructor(graphs: ModelGraphs) {
    this.#graphs = graphs;
    this.#decoder = new GraphDecoder(graphs);
    this.#memory = new CacheMemory(this.#open, graphs.plan.cacheBytes);
  }

  /** Bytes of all attention caches. */
  get cacheBytes(): number {
    return this.#memory.bytes;
  }

  /** Whether the next tokens of several texts are read together; finds out if need be. */
  async sharesSteps(): Promise<boolean> {
    this.#opening ??= openStepReader(this.#graphs, this.#decoder).then((reader) => {
      this.#steps = reader ?? null;
      if (reader) this.#memory.share(reader);
    });
    await this.#opening;
    return this.#steps !== null;
  }

  /** @param sources of an encoder-decoder: one */
  start(sources?: EncodedSources): number {
    const id = this.#nextId++;
    const sequence = new Sequence(freshState(sources));
    this.#sequences.set(id, sequence);
    this.#open.add(sequence);
    return id;
  }

  /** The state after the last of the tokens. */
  async read(id: number, tokens: Int32Array): Promise<NextToken> {
    const { keys, logProbs } = await this.#ask(id, { tokens, wanted: 'last' });
    return { key: keys, logProbs };
  }

  /** The states after each of the tokens; with `keys` log-probabilities after the last alone. */
  readAll(id: number, tokens: Int32Array, wanted: 'all' | 'keys' = 'all'): Promise<ReadStates> {
    return this.#ask(id, { tokens, wanted });
  }

  /** `Decoder.step` */
  step(id: number, parents: readonly number[], tokens: Int32Array): Promise<ReadStates> {
    return this.#ask(id, { tokens, wanted: 'last', parents });
  }

  /** Forgets what was read by then. */
  reset(id: number): void {
    this.#wake(this.#sequence(id), 'reset');
  }

  /** Frees the cache. What is still asked fails. */
  end(id: number): void {
    const sequence = this.#sequences.get(id);
    if (!sequence) return;
    this.#sequences.delete(id);
    sequence.ended = true;
    this.#wake(sequence);
  }

  close(): void {
    for (const id of [...this.#sequences.keys()]) this.end(id);
    clearTimeout(this.#retry);
  }

  #ask(id: number, asked: Omit<ReadRequest, 'resolve' | 'reject'>): Promise<ReadStates> {
    const sequence = this.#sequence(id);
    return new Promise((resolve, reject) => {
      this.#wake(sequence, { ...asked, resolve, reject });
    });
  }

  /** Everything is done between runs, since a run reads from the caches. */
  #wake(sequence: Sequence, ...asked: Sequence['queue']): void {
    sequence.queue.push(...asked);
    sequence.touched = performance.now();
    if (sequence.answered !== undefined) this.#pace.note(sequence.touched - sequence.answered);
    sequence.answered = undefined;
    this.#waiting.add(sequence);
    this.#woken = true;
    void this.#run();
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    // Whoever asks in the same breath is served together.
    await Promise.resolve();
    clearTimeout(this.#retry);
    do this.#woken = false;
    while ((await this.#runOnce()) || this.#woken);
    this.#running = false;
    if (this.#waiting.size === 0) return;
    const patience = Math.max(1, Math.ceil(this.#patientUntil - performance.now()));
    this.#retry = setTimeout(() => this.#run(), Math.min(patience, IDLE_MS / 4)).unref();
  }

  /** @returns whether there was anything to do */
  async #runOnce(): Promise<boolean> {
    const steps: Sequence[] = [];
    const prompts: Sequence[] = [];
    for (const sequence of this.#waiting) {
      if (!this.#begin(sequence)) this.#waiting.delete(sequence);
      else if (this.#isStep(sequence)) steps.push(sequence);
      else prompts.push(sequence);
    }
    if (steps.length > 1 && this.#steps === undefined) {
      await this.sharesSteps();
      return true;
    }
    const next = this.#nextStep(steps);
    const wantsPrompt = this.#promptsTurn || !next;
    const prompt = wantsPrompt ? prompts.find((sequence) => this.#admits(sequence)) : undefined;
    this.#promptsTurn = !wantsPrompt;
    // Making room may have taken it from those who were ready for a step.
    if (prompt) await this.#readOn(prompt);
    else if (next?.hasCache) await this.#step(next, steps);
    else return false;
    return true;
  }

  /** Does what can be done at once. @returns whether there are tokens to read */
  #begin(sequence: Sequence): boolean {
    const { queue } = sequence;
    if (sequence.ended) {
      sequence.fail(closedError());
      for (const asked of queue.splice(0)) if (asked !== 'reset') asked.reject(closedError());
      sequence.reset();
      this.#open.delete(sequence);
      return false;
    }
    while (!sequence.current && queue.length > 0) {
      const next = queue.shift()!;
      if (next === 'reset') this.#reset(sequence);
      else {
        sequence.current = next;
        if (!sequence.isFork) for (const token of next.tokens) sequence.unread.push(token);
      }
    }
    return sequence.current !== undefined;
  }

  #reset(sequence: Sequence): void {
    const { sources } = sequence.state;
    sequence.reset(sources && this.#decoder.firstRow(sources));
  }

  /** Whether one token is wanted that could be read beside others'. */
  #isStep(sequence: Sequence): boolean {
    if (this.#steps === null || !sequence.hasCache || sequence.isFork) return false;
    if (sequence.unread.length !== 1) return false;
    return sequence.cached < (this.#steps?.mostPositions ?? Number.POSITIVE_INFINITY);
  }

  #admits(sequence: Sequence): boolean {
    return this.#memory.admits(sequence, this.#nextCount(sequence));
  }

  /** Reads the next piece of a text with a cache of its own. */
  async #readOn(sequence: Sequence): Promise<void> {
    const count = this.#nextCount(sequence);
    await this.#guard([sequence], async () => {
      sequence.block?.release(sequence);
      const { state, unread, lost } = sequence;
      const { wanted, parents, tokens } = sequence.current!;
      // Of tokens that are read again only the way through them counts.
      const isWanted = wanted === 'last' || lost === 0;
      if (unread.length === 0) sequence.take(await this.#decoder.step(state, parents!, tokens));
      else {
        const part = Int32Array.from(unread.slice(0, count));
        const states = await this.#decoder.run(state, part, isWanted ? wanted : 'last');
        unread.splice(0, count);
        if (isWanted) sequence.take(states);
        if (unread.length > 0 || sequence.isFork) return;
      }
      this.#finish(sequence);
    });
    this.#memory.measure(sequence);
    // The next piece is read when the others had their turn.
    if (this.#waiting.delete(sequence)) this.#waiting.add(sequence);
  }

  /** How many tokens are read at once: as many as the graph reads, fewer while there are others. */
  #nextCount(sequence: Sequence): number {
    const { current, unread, lost, state } = sequence;
    if (!this.#decoder.hasCache) return unread.length;
    const { wanted } = current!;
    // A text read again is read up to the tokens whose states are wanted each.
    const left = wanted !== 'last' && lost > 0 ? lost : unread.length;
    const most = this.#decoder.mostPerRun(state, wanted === 'all' && lost === 0 ? 'all' : 'last');
    return Math.min(left, most, this.#isAlone(sequence) ? left : PROMPT_TOKENS);
  }

  #isAlone(sequence: Sequence): boolean {
    for (const other of this.#open) {
      if (other !== sequence && (other.isAsked || other.hasCache)) return false;
    }
    return true;
  }

  /** Of those who are ready for a step the one that has waited longest, but for those whose blocks wait for others. */
  #nextStep(ready: readonly Sequence[]): Sequence | undefined {
    if (ready.length > 1 && this.#steps) {
      for (const sequence of ready) if (sequence.hasOwnCache) this.#memory.join(sequence);
    }
    this.#patientUntil = Number.POSITIVE_INFINITY;
    const waiting = new Set<CacheBlock>();
    for (const sequence of ready) {
      const { block } = sequence;
      if (!sequence.hasCache || (block && waiting.has(block))) continue;
      if (!block || !this.#isPatient(block)) return sequence;
      waiting.add(block);
    }
    return undefined;
  }

  /** Whether texts of a block are about to ask for their next token. */
  #isPatient({ sequences }: CacheBlock): boolean {
    let until = 0;
    for (const { answered } of sequences) {
      if (answered !== undefined) until = Math.max(until, this.#pace.patience(answered));
    }
    if (until <= performance.now()) return false;
    this.#patientUntil = Math.min(this.#patientUntil, until);
    return true;
  }

  /** Reads the next token of as many as share its block; one with a cache of its own is read alone. */
  async #step(first: Sequence, ready: readonly Sequence[]): Promise<void> {
    const { block } = first;
    if (!block) {
      if (this.#admits(first)) await this.#readOn(first);
      return;
    }
    if (!this.#memory.fit(block)) return;
    const rows = [...block.sequences.keys()].filter((row) => ready.includes(block.sequences[row]!));
    const sequences = rows.map((row) => block.sequences[row]!);
    await this.#guard(sequences, async () => {
      const states = await this.#steps!.step(block, rows);
      for (const [i, sequence] of sequences.entries()) {
        sequence.take(states[i]!);
        this.#finish(sequence);
      }
    });
  }

  #finish(sequence: Sequence): void {
    this.#waiting.delete(sequence);
    sequence.answer();
    if (sequence.isAsked) this.#waiting.add(sequence);
  }

  /** A run that fails fails those who wanted it. */
  async #guard(sequences: readonly Sequence[], run: () => Promise<void>): Promise<void> {
    try {
      await run();
    } catch (error) {
      for (const sequence of sequences) sequence.fail(error);
    }
  }

  #sequence(id: number): Sequence {
    const sequence = this.#sequences.get(id);
    if (!sequence) throw closedError();
    return sequence;
  }
}

const closedError = (): KnnLMError =>
  new KnnLMError('INVALID_ARGUMENT', 'This decoder was closed.');
