/** Documents into a finished datastore: a new segment, searched beside the others. */
import { Datastore } from '../datastore/datastore.ts';
import { DatastoreWriter } from '../datastore/datastore-writer.ts';
import { documentHash } from '../datastore/hash.ts';
import { headerOf, readManifest } from '../datastore/manifest.ts';
import type { ReadDocument } from '../datastore/sources/read-documents.ts';
import type { SourceDocument } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { buildEntries } from './build.ts';
import type { AddOptions, AddResult } from './build-types.ts';

/** @param options.inputBytes of the documents in all, for progress; 0 when unknown */
export async function addEntries(
  documents: AsyncIterable<ReadDocument>,
  model: LanguageModel,
  store: string,
  options: AddOptions & { inputBytes?: number },
): Promise<AddResult> {
  const started = performance.now();
  let skipped = 0;
  const onSkip: AddOptions['onSkip'] = (skip) => {
    skipped++;
    options.onSkip?.(skip);
  };
  const header = headerOf(await readManifest(store));
  const { replace } = options;
  const writer = await DatastoreWriter.open(store, header, { mode: 'add', replace });
  const { documents: added, entries } = await buildEntries(documents, model, writer, {
    ...options,
    settings: null,
    inputBytes: options.inputBytes ?? 0,
    onSkip,
  });
  const seconds = (performance.now() - started) / 1000;
  return {
    documents: added,
    entries,
    replaced: writer.replaced,
    skipped,
    seconds,
    entriesPerSecond: entries / seconds,
    resumedEntries: writer.resumed.entries,
    stored: await storedNow(store),
  };
}

async function storedNow(store: string): Promise<AddResult['stored']> {
  const datastore = await Datastore.open(store);
  try {
    const { total } = await datastore.bytes();
    const { live } = datastore.documents;
    return { documents: live, entries: datastore.liveEntries, bytes: total };
  } finally {
    await datastore.close();
  }
}

/** Documents of a program's own, as if they had been read from files. Errors: those of whatever gives them. */
export async function* asRead(
  documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
): AsyncGenerator<ReadDocument> {
  let readBytes = 0;
  for await (const document of documents) {
    checkDocument(document);
    const textBytes = Buffer.byteLength(document.text);
    readBytes += textBytes;
    const hash = documentHash(document.text, document.sourceText);
    yield { ...document, hash, textBytes, readBytes };
  }
}

function checkDocument({ id, text, source, sourceText = '' }: SourceDocument): void {
  for (const [name, value] of Object.entries({ id, text, source, sourceText })) {
    if (typeof value === 'string') continue;
    throw new KnnLMError(
      'INVALID_DOCUMENT',
      `The ${name} of a document must be a string, not ${JSON.stringify(value)} (document ${JSON.stringify(id)}).`,
    );
  }
}
