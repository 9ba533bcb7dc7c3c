/**
 * What a datastore is made of. Knows documents, entries and files; nothing of distances.
 * An entry is a key (vector of width d) and a value (the token that followed); entry ids are row numbers, 0 to n - 1,
 * and the entries of a document are consecutive: an entry's id is its provenance.
 */
/** A document as it is read from the user's files. */
export interface SourceDocument {
  id: string;
  text: string;
  /** Where it came from: a file, `file#row`, or `stdin`. */
  source: string;
  /** Of a pair: what `text` is the target of, in a translation say. */
  sourceText?: string;
  metadata?: Record<string, unknown>;
}

/** A stored document. */
export interface DocumentRecord {
  id: string;
  source: string;
  /** sha256 of the text, UTF-8, in hex; of a pair see `documentHash`. */
  hash: string;
  /** Id of the first entry. */
  start: number;
  /** Entries: the document's tokens and the EOS. */
  length: number;
  metadata?: Record<string, unknown>;
  /** Of a pair: its source. The entries are those of the target. */
  sourceText?: string;
}

export interface RetrievalSettings {
  /** Neighbors per query. */
  k: number;
  /** Weight of the neighbors in the mixture, 0 to 1. */
  lambda: number;
  /** Softmax temperature over negative squared distances, in their units. */
  temperature: number;
}

/**
 * The numbers of a gate, which weighs what was found for each query (`knnlm/gate.ts`). Shapes: J temperatures of the neighbors,
 * F features, E experts: the model, the neighbors at each temperature, then those of `runs` and of `cache`.
 */
export interface GateParameters {
  /** (J) ascending, each twice the one before, in units of squared distance. */
  temperatures: number[];
  /** Ranks, from 1, whose distances are features. */
  ranks: number[];
  /** Whether the model's largest log-probability is a feature. */
  usesModel?: boolean;
  /** Temperatures at which pointers vote by the tokens they have gone along with the text; ascending, each twice the one before. */
  runs?: number[];
  /** The same for the text's own past, by distance. */
  cache?: { temperatures: number[]; ranks: number[] };
  /** (F) what is subtracted from a feature, */
  means: number[];
  /** (F) and what it is then divided by. */
  deviations: number[];
  /** (E, F + 1) weights and a bias, last. */
  weights: number[][];
}

/** Weight and temperature of the continuous cache where no gate weighs it. */
export interface CacheSettings {
  /** Its share of the mixture, 0 to 1; the rest is the model's and the neighbors', as without it. */
  lambda: number;
  /** Softmax temperature over negative squared distances. */
  temperature: number;
}

/** When a search is skipped (`knnlm/skip.ts`). Shapes: F features. */
export interface SkipParameters {
  /** Weighs what is known where the index was not asked. */
  gate: GateParameters;
  /** (F) what is subtracted from a feature, */
  means: number[];
  /** (F) and what it is then divided by. */
  deviations: number[];
  /** (2 F + 1) weights of the features, of their squares, and a bias, last: together the log of the nats that a search is expected to gain. */
  weights: number[];
  /** The index is asked where more is promised: what share of the searches each threshold skips, ascending. */
  thresholds: { skipped: number; threshold: number }[];
}

/** Where the settings come from, for whoever wants to trust them. */
export interface SettingsRecord extends RetrievalSettings {
  /** `default` (the paper's), `given` (by the user at build), `self-tuned` (on the store's own documents, at build) or `tuned` (on held-out text). */
  source: 'default' | 'given' | 'self-tuned' | 'tuned';
  /** Takes the place of lambda and temperature, which hold where it is switched off. Made for this very k. */
  gate?: GateParameters;
  /** The text being read is remembered, by default. */
  cache?: CacheSettings;
  /** Neighbors are followed from token to token, by default. */
  pointers?: true;
  /** What tells which searches promise little. */
  skip?: SkipParameters;
  /** Share of the searches that is skipped, by default. */
  adaptive?: number;
  /** Of the lists that an inverted file usually reads, the share that searches read by default: neighbors were found with it when the others were tuned. */
  effort?: number;
  /** What they were tuned on and what was measured. */
  evidence?: Record<string, unknown>;
}
