/**
 * What searches must answer after any adding, removing, updating and compacting, whatever the index is made of: the same as a
 * fresh store of the surviving documents, searched exactly.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Datastore } from '../../dist/datastore/datastore.js';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { FlatIndex } from '../../dist/indexes/flat-index.js';
import type { VectorIndex } from '../../dist/indexes/vector-index.js';
import { Retriever } from '../../dist/knnlm/retriever.js';
import {
  type FakeDocument,
  fakeDocument,
  fakeEntries,
  header,
  openStore,
  settings,
  temporaryFolder,
} from '../datastore/support.ts';

export interface ChangesOptions {
  /** Opens the index that the store has. */
  open: (store: Datastore) => Promise<VectorIndex>;
  compact: (path: string) => Promise<unknown>;
  /** Brings an index up to date that is not made anew at every opening. */
  sync?: (path: string) => Promise<unknown>;
  /** Largest relative error of a returned distance. Default 0. */
  distanceError?: number;
  /** Changes of a sequence, at most. Default 10. */
  changes?: number;
  /** Sequences of changes that are tried; more with KNNLM_SEQUENCES=200. */
  sequences: number;
}

const openFlat: ChangesOptions['open'] = (store) =>
  FlatIndex.open({ sources: store.keySources(), dim: store.keyDim, threads: 1 });

/** Neighbors of each query by document, position and value, with their distances; in any tie's order. */
async function answers(
  path: string,
  queries: Float32Array,
  open: ChangesOptions['open'],
): Promise<[place: string, distance: number][][]> {
  const store = await openStore(path);
  const index = await open(store);
  try {
    const retriever = new Retriever(store, index);
    const { ids, distances, values, k } = await retriever.retrieve(queries, { k: 20 });
    return Array.from({ length: queries.length / store.keyDim }, (_, q) =>
      Array.from({ length: k }, (_, j) => q * k + j)
        .filter((i) => ids[i] !== -1)
        .map((i): [string, number] => {
          const { document, position } = store.documents.locate(ids[i]!);
          return [`${document.id} ${position} ${values[i]}`, distances[i]!];
        })
        .sort(([a], [b]) => (a < b ? -1 : 1)),
    );
  } finally {
    await index.close();
    await store.close();
  }
}

function expectSame(
  found: Awaited<ReturnType<typeof answers>>,
  truth: Awaited<ReturnType<typeof answers>>,
  distanceError: number,
): void {
  const places = (rows: typeof truth) => rows.map((row) => row.map(([place]) => place));
  expect(places(found)).toEqual(places(truth));
  for (const [q, row] of truth.entries()) {
    for (const [i, [, distance]] of row.entries())
      expect(Math.abs(found[q]![i]![1] - distance)).toBeLessThanOrEqual(distanceError * distance);
  }
}

async function write(path: string, documents: readonly FakeDocument[], replace: boolean) {
  const mode = replace ? 'add' : 'build';
  const writer = await DatastoreWriter.open(path, header(), { mode, replace });
  for (const document of documents) {
    await writer.beginDocument(document);
    const { keys, values } = fakeEntries(document, 0, document.length);
    await writer.append(keys, values);
    await writer.endDocument();
  }
  await writer.finish(replace ? null : settings);
}

const ids = ['a', 'b', 'c', 'd', 'e'];
const step = fc.oneof(
  fc.record({
    put: fc.uniqueArray(fc.constantFrom(...ids), { minLength: 1, maxLength: 3 }),
    length: fc.integer({ min: 1, max: 40 }),
  }),
  fc.record({ remove: fc.constantFrom(...ids) }),
  fc.constant({ compact: true as const }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** @param living the documents that are left, in order @param name of new texts */
async function perform(
  one: Step,
  { path, living, name }: { path: string; living: Map<string, FakeDocument>; name: string },
  { compact }: ChangesOptions,
): Promise<void> {
  if ('put' in one) {
    const documents = one.put.map((id) => ({
      ...fakeDocument(`${id} ${name}`, one.length),
      id,
    }));
    await write(path, documents, true);
    for (const document of documents) {
      living.delete(document.id);
      living.set(document.id, document);
    }
  } else if ('remove' in one) {
    if (living.delete(one.remove)) await removeDocuments(path, { ids: [one.remove] });
  } else await compact(path);
}

export function changesSuite(name: string, options: ChangesOptions): void {
  const { open, sync } = options;
  describe(name, () => {
    it('equal those of a fresh build of the surviving documents after any adding, removing, updating and compacting', async () => {
      const change = fc.record({ one: step, isSynced: fc.boolean() });
      const sequences = fc.array(change, { minLength: 1, maxLength: options.changes ?? 10 });
      const numRuns = Number(process.env.KNNLM_SEQUENCES ?? options.sequences);
      await fc.assert(
        fc.asyncProperty(sequences, fc.integer(), async (changes, seed) => {
          const place = temporaryFolder();
          const path = join(place, 'changed');
          // 20 of it always stay, so that every search has neighbors.
          const living = new Map([['base', fakeDocument('base', 20)]]);
          await write(path, [...living.values()], false);
          await sync?.(path);
          const asked = fakeEntries(fakeDocument(`query ${seed}`, 8), 0, 8).keys;
          for (const [number, { one, isSynced }] of changes.entries()) {
            await perform(one, { path, living, name: `${seed} ${number}` }, options);
            // By the very next query, whether or not the index has been told.
            const isLast = number === changes.length - 1;
            if (sync && isSynced && !isLast) await sync(path);
            if (!sync && !isLast) continue;
            const fresh = join(place, `fresh-${number}`);
            await write(fresh, [...living.values()], false);
            const own = fakeEntries([...living.values()].at(-1)!, 0, 1).keys;
            for (const queries of [asked, own]) {
              const truth = await answers(fresh, queries, openFlat);
              expectSame(await answers(path, queries, open), truth, options.distanceError ?? 0);
            }
          }
          rmSync(place, { recursive: true });
        }),
        { numRuns },
      );
    }, 600_000);
  });
}
