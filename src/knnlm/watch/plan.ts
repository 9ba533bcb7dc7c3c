/** What must change in a store so that it holds what its watched folders hold, and nothing else of them. */
import { resolve } from 'node:path';
import { isCopyable } from '../../datastore/copy-document.ts';
import type { Datastore } from '../../datastore/datastore.ts';
import { isReadable } from '../../datastore/sources/input-files.ts';
import { isIn } from '../../datastore/sources/look-at-folder.ts';
import type { DocumentDigest } from '../../datastore/sources/read-each.ts';
import type { Skip } from '../../datastore/sources/source-types.ts';
import type { DocumentRecord } from '../../datastore/types.ts';
import { documentsDigest, type WatchRecord } from '../../datastore/watch-record.ts';
import { Breather } from '../../math/breather.ts';
import type { Look, LookedAt, LookedFolder } from './look.ts';

export interface SyncPlan {
  /** By id: to be read by the model. */
  fresh: Map<string, DocumentDigest>;
  /** To be copied from documents of the same text that go: files that were renamed. */
  moved: { from: DocumentRecord; to: DocumentDigest }[];
  /** Stored, and in no file any more. */
  gone: DocumentRecord[];
  /** Ids of `fresh` and `moved` that are stored with another text. */
  updated: Set<string>;
  /** Files with documents that cannot be stored, since another file has their ids. */
  contested: Set<string>;
}

/** @param onSkip told of documents whose ids are another file's */
export async function planSync(
  { files, folders }: Look,
  record: WatchRecord,
  datastore: Datastore,
  onSkip: (skip: Skip) => void,
): Promise<SyncPlan> {
  const { documents: table } = datastore;
  const breather = new Breather();
  const pairs = datastore.manifest.pairs !== undefined;
  const fileOf = ownerOf(record, folders, { pairs });
  // What is kept as it is: documents of files of which nothing new is known.
  const owners = new Map<string, string>();
  for (const [path, { state, ids }] of files)
    if (state === 'noted') for (const id of ids) owners.set(id, path);
  const left: DocumentRecord[] = [];
  for (const document of table) {
    await breather.pause();
    if (owners.has(document.id)) continue;
    const owner = fileOf(document);
    if (!owner) continue;
    const { path, folder } = owner;
    const state = files.get(path)?.state;
    const isKept =
      folder.isAway ||
      folder.unlistable.some((unlistable) => isIn(path, unlistable)) ||
      state === 'open' ||
      state === 'failed';
    if (isKept) owners.set(document.id, path);
    else left.push(document);
  }
  const { wanted, contested } = claim(files, owners, onSkip);
  const plan: SyncPlan = {
    fresh: new Map(),
    moved: [],
    gone: left.filter(({ id }) => !wanted.has(id)),
    updated: new Set(),
    contested,
  };
  const going = new Map(plan.gone.map((document) => [document.hash, document]));
  for (const [id, digest] of wanted) {
    await breather.pause();
    const stored = table.find(id);
    if (stored?.hash === digest.hash) continue;
    if (stored) plan.updated.add(id);
    const from = going.get(digest.hash);
    if (from && isCopyable(datastore, from)) plan.moved.push({ from, to: digest });
    else plan.fresh.set(id, digest);
  }
  return plan;
}

/** Gives each id to the first file that has it. @param owners ids that are taken */
function claim(
  files: ReadonlyMap<string, LookedAt>,
  owners: Map<string, string>,
  onSkip: (skip: Skip) => void,
) {
  const wanted = new Map<string, DocumentDigest>();
  const contested = new Set<string>();
  for (const [path, { state, documents }] of files) {
    if (state !== 'read') continue;
    for (const digest of documents) {
      const owner = owners.get(digest.id);
      if (owner === undefined) {
        owners.set(digest.id, path);
        wanted.set(digest.id, digest);
      } else if (owner !== path || wanted.get(digest.id)?.hash !== digest.hash) {
        contested.add(path);
        const id = JSON.stringify(digest.id);
        onSkip({ source: digest.source, reason: `its id ${id} is that of a document in ${owner}` });
      }
    }
  }
  return { wanted, contested };
}

/** Lines of a file, and rows: `file#3`. */
const PART = /^(.*\.(?:jsonl|jsonl\.gz|tsv|tsv\.gz|parquet))#\d+$/is;

interface Owner {
  /** Of the file. */
  path: string;
  folder: LookedFolder;
}

/** The watched file that a stored document is of: as it was noted, or by its source. */
function ownerOf(
  record: WatchRecord,
  folders: readonly LookedFolder[],
  reads: { pairs: boolean },
): (document: DocumentRecord) => Owner | undefined {
  const noted = new Map<string, Owner>();
  for (const folder of folders)
    for (const [name, { ids = [name] }] of Object.entries(record[folder.path]?.files ?? {}))
      for (const id of ids) noted.set(id, { path: resolve(folder.path, name), folder });
  return ({ id, source }) => noted.get(id) ?? ownerBySource(id, source, folders, reads);
}

function ownerBySource(
  id: string,
  source: string,
  folders: readonly LookedFolder[],
  reads: { pairs: boolean },
): Owner | undefined {
  const part = PART.exec(source)?.[1];
  const path = resolve(part ?? source);
  const folder = folders.find((one) => isIn(path, one.path));
  // A program may call its sources as it likes: of a file of one document the id must be the name too.
  const fits = part !== undefined || (folder && path === resolve(folder.path, id));
  return folder && fits && isReadable(path, reads) ? { path, folder } : undefined;
}

/** The record of the folders that were looked at, by what the store holds now. Others' stay. */
export function recordOf(
  { files, folders }: Look,
  before: WatchRecord,
  contested: ReadonlySet<string>,
  { documents: table }: Datastore,
): WatchRecord {
  const record: WatchRecord = { ...before };
  for (const { path, identity, unlistable, isAway } of folders) {
    if (isAway) continue;
    const kept = Object.entries(before[path]?.files ?? {}).filter(([name]) => {
      const file = resolve(path, name);
      return files.has(file) || unlistable.some((folder) => isIn(file, folder));
    });
    record[path] = { identity, files: Object.fromEntries(kept) };
  }
  for (const [path, { seen, folder, state, documents }] of files) {
    if (state !== 'read') continue;
    const { file, signature } = seen;
    const noted = record[folder]!.files;
    delete noted[file.id];
    const isStored = documents.every(({ id, hash }) => table.find(id)?.hash === hash);
    if (!isStored || contested.has(path)) continue;
    const ids = documents.map(({ id }) => id);
    const isOwn = ids.length === 1 && ids[0] === file.id;
    const digest = documentsDigest(documents);
    noted[file.id] = { signature, ...(!isOwn && { ids }), digest };
  }
  return record;
}
