/** Small things that several benchmarks need. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildDatastore, datastoreInfo, readDocuments } from '../dist/index.js';

export const round = (x, digits) => Number(x.toFixed(digits));

/** Middle value; the lower of two. */
export const median = (values) => [...values].sort((a, b) => a - b)[(values.length - 1) >> 1];

/** The value below which a share of all lies. */
export const percentile = (values, share) =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(share * values.length))];

/** Writes the first documents of a corpus, up to so many megabytes of text, as one .jsonl file. */
export async function headOfCorpus(corpus, megabytes, file) {
  const lines = [];
  let bytes = 0;
  for await (const { id, text } of readDocuments([corpus])) {
    lines.push(JSON.stringify({ id, text }));
    bytes += Buffer.byteLength(text);
    if (bytes >= megabytes * 1e6) break;
  }
  writeFileSync(file, `${lines.join('\n')}\n`);
  return { documents: lines.length, bytes };
}

/** Writes the first documents of a corpus as one .jsonl file. */
export async function headOfDocuments(corpus, documents, file) {
  const lines = [];
  for await (const { id, text } of readDocuments([corpus])) {
    if (lines.push(JSON.stringify({ id, text })) === documents) break;
  }
  writeFileSync(file, `${lines.join('\n')}\n`);
}

/** Builds a store from the head of a corpus; one that is already there is taken as it is. */
export async function buildEntriesFrom(corpus, { out, megabytes, ...request }) {
  try {
    const { entries, bytes, complete } = await datastoreInfo(out);
    if (complete) return { entries, bytes: bytes.total, entriesPerSecond: Number.NaN };
  } catch (error) {
    if (error.code !== 'STORE_NOT_FOUND') throw error;
  }
  const folder = mkdtempSync(join(tmpdir(), 'knnlm-corpus-'));
  const file = join(folder, 'head.jsonl');
  await headOfCorpus(corpus, megabytes, file);
  try {
    return await buildDatastore([file], { out, ...request });
  } finally {
    rmSync(folder, { recursive: true });
  }
}
