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
  metadata?: Record<string, unknown>;
}

/** A stored document. */
export interface DocumentRecord {
  id: string;
  source: string;
  /** sha256 of the text, UTF-8, in hex. */
  hash: string;
  /** Id of the first entry. */
  start: number;
  /** Entries: the document's tokens and the EOS. */
  length: number;
  metadata?: Record<string, unknown>;
}

export interface RetrievalSettings {
  /** Neighbors per query. */
  k: number;
  /** Weight of the neighbors in the mixture, 0 to 1. */
  lambda: number;
  /** Softmax temperature over negative squared distances, in their units. */
  temperature: number;
}

/** Where the settings come from, for whoever wants to trust them. */
export interface SettingsRecord extends RetrievalSettings {
  /** `default` (the paper's), `given` (by the user at build) or `tuned`. */
  source: 'default' | 'given' | 'tuned';
  /** What they were tuned on and what was measured. */
  evidence?: Record<string, unknown>;
}
