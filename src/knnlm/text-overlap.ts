/**
 * Is the tuning text in the datastore? Settings tuned on text that was stored are wrong for text that was not: the
 * nearest neighbor is then the text itself, and λ goes to 1. Two checks: whole documents by hash, and the share of a
 * document's 13-grams of tokens (the length of Brown et al. 2020, appendix C) that occur among the stored values.
 */
import { Breather } from '../math/breather.ts';
import type { Entries } from './entries.ts';

const N = 13;
/** A document with more of its n-grams stored than this is called copied. */
const COPIED_SHARE = 0.5;
/** Values read at once: under a millisecond of hashing. */
const CHUNK = 16_384;
/** Odd, so that multiplying is one-to-one modulo 2³². */
const MULTIPLIER = 0x9e3779b1;

export interface Overlap {
  /** Share of the text's 13-grams that occur in the datastore. */
  ngramShare: number;
  /** Ids of documents whose very text is stored. */
  stored: string[];
  /** Ids of documents with more than half of their 13-grams in the datastore, those of `stored` left out. */
  copied: string[];
}

export interface OverlapText {
  id: string;
  /** sha256 of the text. */
  hash: string;
  /** Token ids, one array per window of the sample. */
  windows: Int32Array[];
}

/** Reads every stored value once. */
export async function textOverlap(
  text: readonly OverlapText[],
  datastore: Entries,
): Promise<Overlap> {
  const wanted = new Set<number>();
  const grams: number[][] = [];
  const breather = new Breather();
  for (const { windows } of text) {
    const own: number[] = [];
    grams.push(own);
    for (const ids of windows) {
      for (const gram of ngramHashes(ids)) {
        own.push(gram);
        wanted.add(gram);
      }
      await breather.pause();
    }
  }
  const seen = await seenGrams(wanted, datastore);
  const hashes = new Set(Array.from(datastore.documents, ({ hash }) => hash));
  const overlap: Overlap = { ngramShare: 0, stored: [], copied: [] };
  let all = 0;
  let found = 0;
  for (const [i, { id, hash }] of text.entries()) {
    const hits = grams[i]!.filter((gram) => seen.has(gram)).length;
    all += grams[i]!.length;
    found += hits;
    if (hashes.has(hash)) overlap.stored.push(id);
    else if (hits > COPIED_SHARE * grams[i]!.length) overlap.copied.push(id);
    await breather.pause();
  }
  overlap.ngramShare = all === 0 ? 0 : found / all;
  return overlap;
}

/** Which of the wanted n-grams occur in live documents. */
async function seenGrams(wanted: ReadonlySet<number>, datastore: Entries): Promise<Set<number>> {
  const seen = new Set<number>();
  const breather = new Breather();
  for (const { start, length } of datastore.documents) {
    for (let from = 0; from < length; from += CHUNK) {
      const end = Math.min(length, from + CHUNK + N - 1);
      const values = await datastore.valueRange(start + from, start + end);
      for (const gram of ngramHashes(values)) {
        if (wanted.has(gram)) seen.add(gram);
      }
      await breather.pause();
    }
  }
  return seen;
}

/** A rolling 32-bit hash of every n consecutive tokens; none when there are fewer. */
function* ngramHashes(ids: ArrayLike<number>): Generator<number> {
  let power = 1;
  for (let i = 0; i < N; i++) power = Math.imul(power, MULTIPLIER);
  let hash = 0;
  for (let i = 0; i < ids.length; i++) {
    // 0 would make leading tokens of id 0 vanish.
    hash = (Math.imul(hash, MULTIPLIER) + ids[i]! + 1) | 0;
    if (i >= N) hash = (hash - Math.imul(ids[i - N]! + 1, power)) | 0;
    if (i >= N - 1) yield hash;
  }
}
