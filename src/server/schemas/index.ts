/** The schemas that the OpenAPI document names. */
import type { z } from 'zod';
import * as chat from './chat.ts';
import * as common from './common.ts';
import * as completions from './completions.ts';
import * as documents from './documents.ts';
import * as info from './info.ts';
import * as models from './models.ts';
import * as score from './score.ts';
import * as search from './search.ts';

export { errorReply } from './common.ts';

/** By the names of their types. */
export const COMPONENTS: Readonly<Record<string, z.ZodType>> = {
  ErrorReply: common.errorReply,
  KnnFields: common.knnFields,
  UsedSettings: common.usedSettings,
  Neighbor: common.neighbor,
  Candidate: common.candidate,
  KnnToken: common.knnToken,
  KnnChoice: common.knnChoice,
  Usage: common.usage,
  CompletionRequest: completions.completionRequest,
  CompletionReply: completions.completionReply,
  CompletionChoice: completions.completionChoice,
  CompletionLogprobs: completions.completionLogprobs,
  ChatMessage: chat.chatMessage,
  ChatRequest: chat.chatRequest,
  ChatReply: chat.chatReply,
  ChatChunk: chat.chatChunk,
  ChatLogprobs: chat.chatLogprobs,
  ModelReply: models.modelReply,
  ModelsReply: models.modelsReply,
  TokenizeRequest: models.tokenizeRequest,
  TokenizeReply: models.tokenizeReply,
  DetokenizeRequest: models.detokenizeRequest,
  DetokenizeReply: models.detokenizeReply,
  TokenizerInfoReply: models.tokenizerInfoReply,
  HealthReply: models.healthReply,
  InfoReply: info.infoReply,
  StoreReply: info.storeReply,
  StoreSettings: info.storeSettings,
  GateParameters: info.gateParameters,
  StatisticsReply: info.statisticsReply,
  Contribution: info.contribution,
  DocumentReply: documents.documentReply,
  DocumentsReply: documents.documentsReply,
  DocumentTextReply: documents.documentTextReply,
  AddDocumentRequest: documents.addDocumentRequest,
  AddDocumentEvent: documents.addDocumentEvent,
  AddedReply: documents.addedReply,
  RemovedReply: documents.removedReply,
  SearchRequest: search.searchRequest,
  SearchReply: search.searchReply,
  RawNeighbors: search.rawNeighbors,
  MapReply: search.mapReply,
  ProjectRequest: search.projectRequest,
  ProjectReply: search.projectReply,
  ScoreRequest: score.scoreRequest,
  ScoreReply: score.scoreReply,
  ScoreEvent: score.scoreEvent,
  ScoredToken: score.scoredToken,
  ScoreSummary: score.scoreSummary,
  TextScore: score.textScore,
};
