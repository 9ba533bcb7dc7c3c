/** Everything that can be asked, in the order in which the OpenAPI document tells it. */
import type { Route } from '../route.ts';
import { chat } from './chat.ts';
import { completions } from './completions.ts';
import { addDocument, getDocument, listDocuments, removeDocument } from './documents.ts';
import { info, statistics } from './info.ts';
import { map, projectContext } from './map.ts';
import { health, metrics, model, models } from './models.ts';
import { score } from './score.ts';
import { search } from './search.ts';
import { detokenize, tokenize, tokenizerInfo } from './tokens.ts';

export const ROUTES: readonly Route[] = [
  completions,
  chat,
  models,
  model,
  info,
  statistics,
  search,
  score,
  listDocuments,
  getDocument,
  addDocument,
  removeDocument,
  map,
  projectContext,
  tokenizerInfo,
  tokenize,
  detokenize,
  health,
  metrics,
];
