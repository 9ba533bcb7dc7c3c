/**
 * Beam search, as transformers' `generate` does it (version 4.57, `early_stopping` false): each step keeps the B best continuations of all
 * beams; one that ends among them is finished, with its log-probability divided by length^penalty; the search stops when B are finished
 * and the best running beam, judged by its present length, is no better than the worst of them. One beam is greedy search.
 */

/** What a beam's last token was chosen from: one row of a step. */
export interface Continuation<Row> {
  token: number;
  row: Row;
}

/** A sequence of tokens from first to last, each with the row it was chosen from. */
export interface Hypothesis<Row> {
  /** Sum of log-probabilities, in nats. */
  logProb: number;
  path: readonly Continuation<Row>[];
}

export interface FinishedHypothesis<Row> extends Hypothesis<Row> {
  /** logProb / length^penalty */
  score: number;
}

export interface BeamSearchOptions<Row> {
  /** B */
  beams: number;
  lengthPenalty: number;
  /** Most tokens of a sequence; one that has as many is finished. */
  maxTokens: number;
  /** Tokens before the first, which count for the length and were not chosen. */
  given: number;
  stopTokens: readonly number[];
  /** Never chosen. */
  forbidden: readonly number[];
  /** (V) log-probabilities of a row's next token. */
  logProbsOf: (row: Row) => Float32Array;
  /**
   * The next row of each beam that goes on. @param parents (B) which of the rows before each continues @param tokens (B) with which token
   */
  step: (parents: readonly number[], tokens: readonly number[]) => Promise<Row[]>;
}

interface Candidate {
  /** Index of the beam it continues. */
  parent: number;
  token: number;
  logProb: number;
}

/** @param first the row that the first token is chosen from @returns the best finished sequence */
export async function beamSearch<Row>(
  first: Row,
  options: BeamSearchOptions<Row>,
): Promise<FinishedHypothesis<Row>> {
  const { beams, lengthPenalty, maxTokens, given, step } = options;
  const stops = new Set(options.stopTokens);
  let rows = [first];
  let running: Hypothesis<Row>[] = [{ logProb: 0, path: [] }];
  let finished: FinishedHypothesis<Row>[] = [];
  for (let length = 1; ; length++) {
    const candidates = bestContinuations(running, rows, options);
    const extended = ({ parent, token, logProb }: Candidate): Hypothesis<Row> => ({
      logProb,
      path: [...running[parent]!.path, { token, row: rows[parent]! }],
    });
    const norm = (given + length) ** lengthPenalty;
    const ends = ({ token }: Candidate): boolean => length === maxTokens || stops.has(token);
    // Those behind the first B only stand by, should all of the first end.
    for (const candidate of candidates.slice(0, beams)) {
      if (ends(candidate)) {
        finished.push({ ...extended(candidate), score: candidate.logProb / norm });
      }
    }
    finished = finished.sort((a, b) => b.score - a.score).slice(0, beams);
    const goingOn = candidates.filter((candidate) => !ends(candidate)).slice(0, beams);
    const isFull = finished.length === beams;
    const best = goingOn[0];
    if (!best || (isFull && (beams === 1 || best.logProb / norm <= finished.at(-1)!.score)))
      return finished[0]!;
    const next = goingOn.map(extended);
    rows = await step(
      goingOn.map(({ parent }) => parent),
      goingOn.map(({ token }) => token),
    );
    running = next;
  }
}

/** The 2 B best over all beams, best first. */
function bestContinuations<Row>(
  running: readonly Hypothesis<Row>[],
  rows: readonly Row[],
  { beams, forbidden, logProbsOf }: BeamSearchOptions<Row>,
): Candidate[] {
  const wanted = 2 * beams;
  const best: Candidate[] = [];
  for (const [parent, row] of rows.entries()) {
    const before = running[parent]!.logProb;
    const logProbs = logProbsOf(row);
    for (let token = 0; token < logProbs.length; token++) {
      const logProb = before + logProbs[token]!;
      if (best.length === wanted && logProb <= best.at(-1)!.logProb) continue;
      if (logProb === Number.NEGATIVE_INFINITY || forbidden.includes(token)) continue;
      insert(best, { parent, token, logProb });
      if (best.length > wanted) best.pop();
    }
  }
  return best;
}

/** Behind those that are as good: of equals the first stays first. */
function insert(best: Candidate[], candidate: Candidate): void {
  let at = best.length;
  while (at > 0 && best[at - 1]!.logProb < candidate.logProb) at--;
  best.splice(at, 0, candidate);
}
