/** GET /v1/knn/info and /v1/knn/statistics. */
import type { OpenStore } from '../../knnlm/open-stores.ts';
import type { StoreInfo } from '../../knnlm/store-info.ts';
import { packageVersion } from '../../model/model-files.ts';
import type { Call } from '../call.ts';
import { defineRoute } from '../route.ts';
import { infoReply, statisticsReply } from '../schemas/info.ts';
import type { InfoReply, StoreReply } from '../wire.ts';

const CONTRIBUTIONS_TOLD = 100;

export const info = defineRoute({
  method: 'get',
  path: '/v1/knn/info',
  id: 'getInfo',
  tag: 'Memory',
  summary: 'The model, the stores, and how much may be asked.',
  reply: infoReply,
  readsStores: true,
  handle: (_, { service }) => ({
    version: packageVersion(),
    model: toldModel(service),
    stores: service.knnlm.stores.map(toldStore),
    limits: {
      concurrency: service.options.concurrency,
      queue: service.options.queue,
      body_bytes: service.options.bodyBytes,
      prompt_tokens: service.options.promptTokens,
      max_tokens: service.options.maxTokens,
    },
    writable: !service.options.readOnly,
  }),
});

function toldModel({ knnlm, modelName }: Call['service']): InfoReply['model'] {
  const { info } = knnlm.model;
  return {
    name: modelName,
    family: info.family,
    file: info.file,
    dtype: info.dtype,
    key: info.key ?? null,
    key_tensor: info.keyTensor,
    key_dim: info.keyDim,
    vocab_size: info.vocabSize,
    layers: info.layers,
    context_length: info.contextLength,
    bos: info.bos,
    eos: info.eos,
    chat: knnlm.model.chatTemplate !== undefined,
  };
}

function toldStore({ name, info }: OpenStore): StoreReply {
  const { documents, entries, deleted, window, stride, complete } = info;
  const { keys, values, checksums, manifest, index, total } = info.bytes;
  return {
    name,
    documents,
    entries,
    deleted,
    key_dim: info.keyDim,
    key_dtype: info.model.keyDtype,
    window,
    stride,
    bytes: { keys, values, documents: info.bytes.documents, checksums, manifest, index, total },
    bytes_per_entry: info.bytesPerEntry,
    index: toldIndex(info.index),
    settings: toldStoreSettings(info.settings),
    complete,
  };
}

function toldIndex({ kind, indexed, lists, probes, recall, error }: StoreInfo['index']) {
  return {
    kind,
    indexed: indexed ?? null,
    lists: lists ?? null,
    probes: probes ?? null,
    recall: recall ?? null,
    error: error ?? null,
  };
}

function toldStoreSettings(settings: StoreInfo['settings']): StoreReply['settings'] {
  const { k, lambda, temperature, source, gate = null, evidence = null } = settings;
  const { cache, pointers, adaptive, effort } = settings;
  return {
    ...{ k, lambda, temperature, source, gate, evidence },
    ...(cache && { cache: true as const }),
    ...(pointers && { pointers }),
    ...(adaptive !== undefined && { adaptive }),
    ...(effort !== undefined && { effort }),
  };
}

export const statistics = defineRoute({
  method: 'get',
  path: '/v1/knn/statistics',
  id: 'getStatistics',
  tag: 'Memory',
  summary: 'What was asked so far, and which documents answered.',
  reply: statisticsReply,
  readsStores: true,
  handle(_, { service }) {
    const { metrics, scheduler, contributions, knnlm } = service;
    const isStored = (store: string, document: string): boolean =>
      knnlm.stores.some(
        ({ name, datastore }) => name === store && datastore.documents.find(document) !== undefined,
      );
    return {
      uptime_seconds: metrics.uptimeSeconds,
      requests: {
        ...metrics.requests,
        active: scheduler.active,
        waiting: scheduler.waiting,
      },
      tokens: { ...metrics.tokens },
      search: knnlm.searches,
      contributions: contributions.list(isStored, CONTRIBUTIONS_TOLD),
      recent_tokens: contributions.tokens,
    };
  },
});
