/** POST /v1/knn/search: one prediction with all that was retrieved for it. */
import { candidatesOf } from '../../knnlm/generate.ts';
import type { Inspection } from '../../knnlm/inspect.ts';
import { largest } from '../../knnlm/sampler.ts';
import type { LanguageModel } from '../../model/language-model.ts';
import type { Call } from '../call.ts';
import { lengthOf, type Prompt, readPrompt } from '../completions/prompt.ts';
import { retrievalOf, toldSettings } from '../completions/sampling.ts';
import { toldCandidate, toldNeighbor } from '../completions/tell.ts';
import { Refusal } from '../refusal.ts';
import { defineRoute } from '../route.ts';
import { searchReply, searchRequest } from '../schemas/search.ts';
import type { RawNeighbors } from '../wire.ts';

const DEFAULT_SHOWN = 10;
const CANDIDATES = 10;
const RAW_CANDIDATES = 50;

export const search = defineRoute({
  method: 'post',
  path: '/v1/knn/search',
  id: 'search',
  tag: 'Memory',
  summary: 'What is near a context, and what the mixture makes of it.',
  body: searchRequest,
  reply: searchReply,
  readsStores: true,
  async handle({ body }, call) {
    const { knnlm, metrics } = call.service;
    const context = await readContext(body, call);
    metrics.count('prompt', lengthOf(context));
    const inspection = await call.work(() =>
      knnlm.inspect(context.ids, {
        ...retrievalOf(body),
        show: body.show ?? DEFAULT_SHOWN,
        around: body.around,
        excludeDocuments: body.exclude_documents,
        signal: call.signal,
      }),
    );
    return {
      context: { token_ids: [...context.ids], pieces: context.pieces },
      neighbors: inspection.neighbors.map((neighbor) => toldNeighbor(neighbor, knnlm)),
      candidates: candidatesOf(inspection.prediction, CANDIDATES, knnlm.model.tokenizer).map(
        toldCandidate,
      ),
      settings: toldSettings(inspection.settings),
      left_out: inspection.leftOut,
      ...(body.raw && { raw: rawNeighbors(inspection, knnlm.model, knnlm.stores[0]!.name) }),
      milliseconds: inspection.milliseconds,
    };
  },
});

/** Errors: `Refusal` with 400 unless there is one of `context` and `token_ids`. */
export async function readContext(
  { context, token_ids }: { context?: string; token_ids?: number[] },
  { service }: Call,
): Promise<Prompt> {
  if ((context === undefined) === (token_ids === undefined)) {
    throw new Refusal(400, 'Send one of "context", a text, and "token_ids", a list.', {
      param: 'context',
    });
  }
  return await readPrompt(context ?? token_ids!, service.knnlm.model, service.options.promptTokens);
}

function rawNeighbors(
  { places, distances, targets, prediction, gate }: Inspection,
  { tokenizer }: LanguageModel,
  onlyStore: string,
): RawNeighbors {
  /** By store and id, in the order of their nearest neighbor. */
  const documents = new Map<string, { at: number; document: string; store: string }>();
  const at = places.map(({ document, store = onlyStore }) => {
    const key = JSON.stringify([store, document]);
    const known = documents.get(key) ?? { at: documents.size, document, store };
    documents.set(key, known);
    return known.at;
  });
  const { lm } = prediction;
  const candidates = [...new Set([...largest(lm, RAW_CANDIDATES), ...targets])];
  candidates.sort((a, b) => lm[b]! - lm[a]! || a - b);
  return {
    entries: places.map(({ entry }) => entry),
    distances: Array.from(distances),
    targets: Array.from(targets),
    documents: at,
    positions: places.map(({ position }) => position),
    document_ids: [...documents.values()].map(({ document }) => document),
    document_stores: [...documents.values()].map(({ store }) => store),
    candidates: candidates.map((id) => ({
      id,
      text: tokenizer.tokenText(id),
      log_p_lm: lm[id]!,
    })),
    gate: gate ?? null,
  };
}
