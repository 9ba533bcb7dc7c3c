/** The package root. Importing it loads no heavy library: each enters by one file, on first use. */
export {
  type Compaction,
  type CompactOptions,
  compactDatastore,
} from './datastore/compact-datastore.ts';
export { Datastore } from './datastore/datastore.ts';
export { ARRAY_LAYOUTS, type ArrayLayout } from './datastore/interchange/array-files.ts';
export {
  type ExportOptions,
  type ExportResult,
  exportDatastore,
} from './datastore/interchange/export-datastore.ts';
export { type Removal, removeDocuments } from './datastore/remove-documents.ts';
export type { DocumentSelection } from './datastore/select-documents.ts';
export { estimateDocuments } from './datastore/sources/estimate-documents.ts';
export { type PairInputs, readDocuments } from './datastore/sources/read-documents.ts';
export type {
  DocumentRecord,
  GateParameters,
  SettingsRecord,
  SourceDocument,
} from './datastore/types.ts';
export {
  type Verification,
  type VerifyOptions,
  verifyDatastore,
} from './datastore/verify-datastore.ts';
export { type ErrorCode, KnnLMError } from './errors.ts';
export {
  EXPERIMENT_NAMES,
  type ExperimentReport,
  runExperiments,
} from './experiments/run-experiments.ts';
export type {
  Claim,
  ExperimentOptions,
  ExperimentResult,
  ExperimentStep,
  ResultRow,
  SkippedExperiment,
  TextInputs,
  Verdict,
} from './experiments/types.ts';
export { openIndex } from './indexes/open-index.ts';
export type { Neighbors, SearchOptions, VectorIndex } from './indexes/vector-index.ts';
export type { Breakdown, BreakdownGroup } from './knnlm/breakdown.ts';
export type * from './knnlm/build-types.ts';
export {
  type CompactStoreOptions,
  compactStore,
  type StoreCompaction,
} from './knnlm/compact-store.ts';
export { type DroppedKeys, dropKeys } from './knnlm/drop-keys.ts';
export type { TranslationEvaluation } from './knnlm/evaluate-translations.ts';
export type * from './knnlm/generation-types.ts';
export type { ImportArrays, ImportResult } from './knnlm/import-arrays.ts';
export { type IndexInfo, removeIndex } from './knnlm/index-folder.ts';
export type { IndexPlan } from './knnlm/index-plan.ts';
export {
  type IndexStoreRequest,
  type IndexStoreResult,
  indexStore,
} from './knnlm/index-store.ts';
export {
  DEFAULT_SETTINGS,
  interpolate,
  knnLogProbOf,
  knnLogProbs,
  mixture,
  type NeighborRow,
  neighborWeights,
} from './knnlm/interpolate.ts';
export { type IndexChoice, type KeepIndexedRequest, keepIndexed } from './knnlm/keep-indexed.ts';
export { KnnLM } from './knnlm/knnlm.ts';
export { indexOnMilvus } from './knnlm/milvus/sync-milvus.ts';
export type { MilvusStoreRequest, MilvusStoreResult } from './knnlm/milvus/types.ts';
export type { StoreChoice } from './knnlm/open-memory.ts';
export type { OpenStore } from './knnlm/open-stores.ts';
export { SEMANTICS, type Semantics } from './knnlm/reference-semantics.ts';
export {
  type ReceiptOptions,
  type RemovalReceipt,
  removeWithReceipt,
} from './knnlm/removal-receipt.ts';
export { type RetuneRequest, retune } from './knnlm/retune.ts';
export type { StoreInfo } from './knnlm/store-info.ts';
export type { ReportedToken } from './knnlm/token-report.ts';
export type { TranslationScores } from './knnlm/translation-metrics.ts';
export type { TuneRequest, Tuning } from './knnlm/tune.ts';
export { tuningChart } from './knnlm/tuning-chart.ts';
export type * from './knnlm/types.ts';
export { verifyStore } from './knnlm/verify-store.ts';
export type { WatchEvent, WatchRequest } from './knnlm/watch/types.ts';
export type { IdRange, KeyDtype, KeySource } from './math/vectors.ts';
export { describeModel } from './model/describe-model.ts';
export type * from './model/language-model.ts';
export { KEY_NAMES } from './model/language-model.ts';
export { loadModel } from './model/load-model.ts';
export type { PairOptions, PairReading } from './model/pair-reading.ts';
export type { Encoding, Tokenizer, TokenStream } from './model/tokenizer.ts';
export {
  type AddRequest,
  addDocuments,
  type BuildDatastoreRequest,
  buildDatastore,
  DEFAULT_MODEL,
  datastoreInfo,
  type ImportDatastoreRequest,
  importDatastore,
  listDocuments,
  type OpenOptions,
  openKnnLM,
  watchFolders,
} from './open.ts';
