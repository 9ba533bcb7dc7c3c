/** What the readers of documents share. */
import { constants } from 'node:buffer';
import type { SourceDocument } from '../types.ts';

/** A document with what a builder needs to know of it. */
export interface ReadDocument extends SourceDocument {
  /** sha256 of the text as UTF-8, in hex: `DocumentRecord.hash`. */
  hash: string;
  /** UTF-8 bytes of the text. */
  textBytes: number;
  /** Bytes of input files read so far, compressed where they are: progress against `DocumentEstimate.fileBytes`. */
  readBytes: number;
}

export interface Skip {
  source: string;
  reason: string;
}

/** Where pairs are. */
export interface PairInputs {
  /**
   * Files of targets, one for each input, in their order: line n of the one is the target of line n of the other. Without them
   * inputs are `.jsonl` with `source` and `target`, or `.tsv` with two columns.
   */
  targets?: readonly string[] | undefined;
}

/** Options that readers in a worker get. */
export interface ReadSettings {
  /** Parquet column with the text. Default `text`. */
  textColumn?: string;
  /** Parquet column with the ids. Default: none, ids are `file#row`. */
  idColumn?: string;
  /** What to do with bytes that are not UTF-8: refuse the file (default), or put U+FFFD in their place. */
  invalidUtf8?: 'refuse' | 'replace';
  /** Read pairs of a source and its target instead of texts. */
  pairs?: PairInputs | undefined;
  /** Longest document, in bytes. Default: what V8 can hold in one string, 512 MiB. */
  maxDocumentBytes?: number;
}

export interface ReadOptions extends ReadSettings {
  /** Told of every file and document skipped, with the reason. */
  onSkip?: (skip: Skip) => void;
  signal?: AbortSignal;
}

/** What a reader is given besides its file. */
export interface ReadContext {
  settings: ReadSettings;
  onSkip: (skip: Skip) => void;
}

/** A document as a reader finds it, and how many of its file's bytes were read up to its end. */
export interface FoundDocument extends SourceDocument {
  fileBytes: number;
}

/** Latin letters take a byte each, so text of this many bytes always fits into one string. */
export const LONGEST_STRING = constants.MAX_STRING_LENGTH;
