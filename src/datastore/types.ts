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

/** The numbers of a gate, which weighs the neighbors of each query (`knnlm/gate.ts`). Shapes: J temperatures, F features. */
export interface GateParameters {
  /** (J) ascending, each twice the one before, in units of squared distance. */
  temperatures: number[];
  /** Ranks, from 1, whose distances are features. */
  ranks: number[];
  /** (F) what is subtracted from a feature, */
  means: number[];
  /** (F) and what it is then divided by. */
  deviations: number[];
  /** (J + 1, F + 1) weights and a bias, last: the model's row first, then one per temperature. */
  weights: number[][];
}

/** Where the settings come from, for whoever wants to trust them. */
export interface SettingsRecord extends RetrievalSettings {
  /** `default` (the paper's), `given` (by the user at build), `self-tuned` (on the store's own documents, at build) or `tuned` (on held-out text). */
  source: 'default' | 'given' | 'self-tuned' | 'tuned';
  /** Takes the place of lambda and temperature, which hold where it is switched off. Made for this very k. */
  gate?: GateParameters;
  /** What they were tuned on and what was measured. */
  evidence?: Record<string, unknown>;
}
