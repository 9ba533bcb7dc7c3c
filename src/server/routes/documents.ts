/** /v1/knn/documents: list, read, add, remove. Text of documents goes out as JSON only. */

import { documentHash } from '../../datastore/hash.ts';
import { type FoundDocument, findDocuments, readDocument } from '../../knnlm/browse.ts';
import type { AddResult } from '../../knnlm/build-types.ts';
import type { OpenStore } from '../../knnlm/open-stores.ts';
import type { Progress } from '../../knnlm/types.ts';
import type { Call } from '../call.ts';
import { Channel } from '../channel.ts';
import { Events } from '../event-stream.ts';
import { Refusal } from '../refusal.ts';
import { defineRoute } from '../route.ts';
import {
  addDocumentEvent,
  addDocumentRequest,
  addedReply,
  documentsQuery,
  documentsReply,
  documentTextQuery,
  documentTextReply,
  removedReply,
  storeQuery,
} from '../schemas/documents.ts';
import type {
  AddDocumentEvent,
  AddDocumentRequest,
  AddedReply,
  DocumentReply,
  DocumentTextQuery,
} from '../wire.ts';

const DEFAULT_AROUND = 256;
const DEFAULT_LIMIT = 1024;
/** Arrays and objects within one another that metadata may have. */
const MOST_NESTED = 32;

export const listDocuments = defineRoute({
  method: 'get',
  path: '/v1/knn/documents',
  id: 'listDocuments',
  tag: 'Memory',
  summary: 'The documents that are stored.',
  query: documentsQuery,
  reply: documentsReply,
  readsStores: true,
  async handle({ query: { store, ...options } }, { service }) {
    const found = await service.knnlm.withStores((stores) =>
      findDocuments(named(stores, store, service), options),
    );
    return {
      documents: found.documents.map((document) => toldDocument(document, service)),
      total: found.total,
      offset: options.offset ?? 0,
    };
  },
});

export const getDocument = defineRoute({
  method: 'get',
  path: '/v1/knn/documents/{id}',
  id: 'getDocument',
  tag: 'Memory',
  summary: "A part of a document's text.",
  query: documentTextQuery,
  reply: documentTextReply,
  readsStores: true,
  async handle({ query, params: { id = '' } }, { service }) {
    const { tokenizer } = service.knnlm.model;
    return await service.knnlm.withStores(async (all) => {
      const stores = having(id, named(all, query.store, service));
      const read = await readDocument(stores, id, { tokenizer, ...rangeOf(query) });
      return {
        document: toldDocument(read.document, service),
        from: read.from,
        pieces: read.pieces,
        token_ids: Array.from(read.ids),
        total: read.document.length,
      };
    });
  },
});

function rangeOf({
  position,
  around = DEFAULT_AROUND,
  from = 0,
  limit = DEFAULT_LIMIT,
}: DocumentTextQuery) {
  if (position === undefined) return { from, limit };
  const first = Math.max(0, position - around);
  return { from: first, limit: position + around + 1 - first };
}

function named(
  stores: readonly OpenStore[],
  name: string | undefined,
  service: Call['service'],
): readonly OpenStore[] {
  if (name === undefined) return stores;
  const { name: known } = service.store(name);
  return stores.filter((store) => store.name === known);
}

/** Errors: `Refusal` with 404. */
function having(id: string, stores: readonly OpenStore[]): readonly OpenStore[] {
  const found = stores.filter(({ datastore }) => datastore.documents.find(id));
  if (found.length > 0) return found;
  const names = stores.map(({ name }) => name).join(', ');
  throw new Refusal(404, `There is no document ${JSON.stringify(id)} in ${names}.`, {
    param: 'id',
    code: 'document_not_found',
  });
}

function toldDocument(
  { id, store, source, length, metadata }: FoundDocument,
  { contributions }: Call['service'],
): DocumentReply {
  const contribution = contributions.of(store, id);
  return { id, store, source, entries: length, metadata: metadata ?? null, contribution };
}

export const addDocument = defineRoute({
  method: 'post',
  path: '/v1/knn/documents',
  id: 'addDocument',
  tag: 'Memory',
  summary: 'Reads a document into a store; it is retrieved by the next request.',
  body: addDocumentRequest,
  reply: addedReply,
  event: addDocumentEvent,
  takesDocument: true,
  readsStores: true,
  async handle({ body }, call) {
    const store = changed(body.store, call);
    checkNesting(body.metadata);
    return body.stream ? new Events(streamAdding(body, store, call)) : await add(body, store, call);
  },
});

async function add(
  body: AddDocumentRequest,
  store: OpenStore,
  call: Call,
  onProgress?: (progress: Progress) => void,
): Promise<AddedReply> {
  const { knnlm, watch } = call.service;
  const { id, text, metadata, replace = false } = body;
  const started = performance.now();
  const release = await call.writerSlot();
  try {
    // Another may have been added while this one waited.
    await watch.takeUp();
    if (!replace) checkFree(body, call.service.store(store.name));
    const result = await knnlm.add([{ id, text, metadata, source: 'request' }], {
      store: store.name,
      replace,
      onProgress,
      signal: call.signal,
    });
    return added(id, store.name, result, performance.now() - started);
  } finally {
    release();
  }
}

/** Errors: `Refusal` with 409 when the id is that of another text. */
function checkFree({ id, text }: AddDocumentRequest, { name, datastore }: OpenStore): void {
  const stored = datastore.documents.find(id);
  if (!stored || stored.hash === documentHash(text)) return;
  throw new Refusal(
    409,
    `${name} holds another text under the id ${JSON.stringify(id)}. Send "replace": true to put this one in its place, or choose another id.`,
    { param: 'id', code: 'document_exists' },
  );
}

function added(id: string, store: string, result: AddResult, milliseconds: number): AddedReply {
  const { entries, replaced, stored } = result;
  return { id, store, entries, replaced: replaced > 0, seconds: milliseconds / 1000, stored };
}

async function* streamAdding(
  body: AddDocumentRequest,
  store: OpenStore,
  call: Call,
): AsyncGenerator<AddDocumentEvent> {
  const channel = new Channel<AddDocumentEvent>();
  const adding = add(body, store, call, (progress) => channel.replace(toldProgress(progress))).then(
    (reply) => channel.end({ type: 'added', ...reply }),
    (error: unknown) => channel.fail(error),
  );
  yield* channel;
  await adding;
}

function toldProgress({ phase, done, total, unit, entries }: Progress): AddDocumentEvent {
  return {
    type: 'progress',
    phase,
    done,
    total: total ?? null,
    unit,
    entries: entries ?? null,
  };
}

export const removeDocument = defineRoute({
  method: 'delete',
  path: '/v1/knn/documents/{id}',
  id: 'removeDocument',
  tag: 'Memory',
  summary: 'Takes a document out; the next request retrieves nothing of it.',
  query: storeQuery,
  reply: removedReply,
  readsStores: true,
  async handle({ query, params: { id = '' } }, call) {
    const store = changed(query.store, call);
    const started = performance.now();
    const release = await call.writerSlot();
    try {
      await call.service.watch.takeUp();
      having(id, [call.service.store(store.name)]);
      const { entries } = await call.service.knnlm.remove({ ids: [id] }, { store: store.name });
      return { id, store: store.name, entries, seconds: (performance.now() - started) / 1000 };
    } finally {
      release();
    }
  },
});

/** The store to change. Errors: `Refusal` with 403 where nothing may be, 400 when it could be several, 404. */
function changed(name: string | undefined, { service }: Call): OpenStore {
  const { options, knnlm } = service;
  if (options.readOnly) {
    throw new Refusal(403, 'This server only reads: it was started with --read-only.', {
      code: 'read_only',
    });
  }
  if (name === undefined && knnlm.stores.length > 1) {
    const names = knnlm.stores.map((store) => store.name).join(', ');
    throw new Refusal(400, `Several stores are served: ${names}. Say which one with "store".`, {
      param: 'store',
    });
  }
  return service.store(name);
}

/** Errors: `Refusal` with 400. Without recursion, since what is too deep for that must be refused too. */
function checkNesting(metadata: unknown): void {
  let level: unknown[] = [metadata];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MOST_NESTED) {
      throw new Refusal(400, `metadata: It is nested deeper than ${MOST_NESTED} levels.`, {
        param: 'metadata',
      });
    }
    level = level.flatMap((value) =>
      value !== null && typeof value === 'object' ? Object.values(value) : [],
    );
  }
}
