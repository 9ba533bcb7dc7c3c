/**
 * The settings a request runs with: its own, then those of the first datastore it reads, then the paper's.
 *
 * T has the scale of the model's distances, which datastores of one model share, and k and a gate were chosen for the
 * same distances, so the first one's settings serve for a union of several. With a λ for each datastore the mixture is
 * p = Σ_s λ_s p_kNN,s + (1 - Σ_s λ_s) p_LM, where p_kNN,s knows the k nearest entries of s alone.
 */
import { type DocumentSelection, selectDocuments } from '../datastore/select-documents.ts';
import type { CacheSettings, SettingsRecord } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import { checkSettings, DEFAULT_SETTINGS } from './interpolate.ts';
import type { OpenStore, OpenStores } from './open-stores.ts';
import { SEMANTICS, type Semantics } from './reference-semantics.ts';
import { mergeRanges } from './retriever.ts';
import { thresholdFor } from './skip.ts';
import type { ResolvedSettings, RetrievalRequest, StoreLambda } from './types.ts';

/** Errors: `INVALID_ARGUMENT` with the value seen. */
export function resolveSettings(open: OpenStores, request: RetrievalRequest): ResolvedSettings {
  const stores = pickedStores(open, request);
  const lambdas = request.lambdas && storeLambdas(open, stores, request);
  const base: Omit<SettingsRecord, 'source'> = stores[0]!.datastore.settings ?? DEFAULT_SETTINGS;
  const { k = base.k, temperature = base.temperature } = request;
  const lambda = lambdas ? sumOf(lambdas) : (request.lambda ?? base.lambda);
  checkSettings({ k, lambda, temperature });
  const own = !lambdas && k === base.k && lambda === base.lambda;
  // A gate that weighs the cache leaves no room for a weight of its own.
  const ownCache = base.gate?.cache && asksForAnother(request.cache, base.cache);
  const given = [request.k, request.lambda, request.temperature, lambdas, ownCache || undefined];
  if (request.gate && !(base.gate && own && temperature === base.temperature)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      base.gate
        ? 'The gate was made for the settings of the store: leave out k, lambda and temperature.'
        : 'The datastore has no gate. Make one on held-out text: knnlm tune STORE TEXT...',
    );
  }
  const isOwn = given.every((x) => x === undefined);
  if (stores[0]!.datastore.header.pairs) refuseParts(request);
  const gated = base.gate && (request.gate ?? isOwn);
  const effort = checkEffort(request.effort ?? base.effort ?? 1);
  return {
    k,
    lambda,
    temperature,
    ...(gated && { gate: base.gate }),
    ...(request.semantics !== undefined && {
      semantics: checkSemantics(request.semantics, !!gated),
    }),
    ...resolveParts(request, isOwn && request.gate !== false ? base : {}, { ...base, temperature }),
    ...(open.stores.length > 1 && { stores: stores.map(({ name }) => name) }),
    ...(lambdas && { lambdas }),
    ...(effort !== 1 && { effort }),
    ...(request.onIndexFailure === 'lm' && { onIndexFailure: 'lm' as const }),
  };
}

/** Errors: `INVALID_ARGUMENT`. */
export function checkEffort(effort: number): number {
  if (effort > 0 && effort < Number.POSITIVE_INFINITY) return effort;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `The effort of a search must be above 0, where 1 is the usual, not ${effort}.`,
  );
}

/** Errors: `INVALID_ARGUMENT`. */
function checkSemantics(semantics: Semantics, isGated: boolean): Semantics {
  const refuse = (message: string): never => {
    throw new KnnLMError('INVALID_ARGUMENT', message);
  };
  if (!SEMANTICS.includes(semantics)) {
    refuse(`semantics must be one of ${SEMANTICS.join(', ')}, not ${JSON.stringify(semantics)}.`);
  }
  if (isGated && semantics !== 'exact') {
    refuse(
      `The gate has no counterpart in ${semantics}: give k, lambda and temperature, or leave the gate out (--no-gate).`,
    );
  }
  return semantics;
}

/** Errors: `INVALID_ARGUMENT`: several texts are written side by side there, and none has a past worth remembering. */
function refuseParts({ cache, pointers, minPointers, adaptive }: RetrievalRequest): void {
  if (!cache && !pointers && minPointers === undefined && !adaptive) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    'cache, pointers and adaptive are for texts, and the store holds pairs of a source and its target. Leave them out.',
  );
}

type Parts = Pick<ResolvedSettings, 'cache' | 'pointers' | 'minPointers' | 'skip'>;
/** What a store keeps of them. */
type OwnParts = Pick<SettingsRecord, 'cache' | 'pointers' | 'skip' | 'adaptive'>;

/**
 * What is remembered, followed and skipped: as the request says, or as it is with the store's own settings.
 * @param defaults those that hold where the request says nothing
 * @param own what the store has to offer
 * Errors: `INVALID_ARGUMENT`.
 */
function resolveParts(
  request: RetrievalRequest,
  defaults: OwnParts,
  own: OwnParts & { temperature: number },
): Parts {
  const { minPointers, pointers } = request;
  const skip = minPointers === undefined ? resolveSkip(request, defaults, own) : undefined;
  if (minPointers !== undefined && !(Number.isInteger(minPointers) && minPointers >= 1)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `minPointers must be a whole number of at least 1, not ${minPointers}.`,
    );
  }
  const skips = skip !== undefined || minPointers !== undefined;
  if (skips && pointers === false) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'Searches are skipped where pointers take their place: leave pointers on, or search always.',
    );
  }
  const cache = cacheSettings(request, defaults, own);
  return {
    ...(cache && { cache }),
    ...((pointers ?? (skips || defaults.pointers)) && { pointers: true as const }),
    ...(minPointers !== undefined && { minPointers }),
    ...(skip && { skip }),
  };
}

/** Of the searches, where a request leaves it open. */
const DEFAULT_SKIPPED = 0.5;

function resolveSkip(
  { adaptive, pointers }: RetrievalRequest,
  defaults: OwnParts,
  own: OwnParts,
): Parts['skip'] {
  const asked = adaptive ?? (pointers !== false && defaults.adaptive);
  const share = asked === true ? (own.adaptive ?? DEFAULT_SKIPPED) : asked || 0;
  if (!(share >= 0 && share <= 1)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The share of searches to skip must lie between 0 and 1, not ${share}.`,
    );
  }
  if (share === 0) return undefined;
  if (!own.skip) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'The datastore has not learned which searches to skip. Let it learn on held-out text (knnlm tune STORE TEXT...), or skip by the number of pointers: --min-pointers 8',
    );
  }
  return { share, threshold: thresholdFor(share, own.skip), parameters: own.skip };
}

/** The share of the text's own past where nobody has tuned it: what Grave et al. gain with is about that. */
const DEFAULT_CACHE_LAMBDA = 0.1;

function cacheSettings(
  { cache }: RetrievalRequest,
  defaults: OwnParts,
  own: OwnParts & { temperature: number },
): CacheSettings | undefined {
  const asked = cache ?? defaults.cache;
  if (!asked) return undefined;
  const tuned = own.cache ?? { lambda: DEFAULT_CACHE_LAMBDA, temperature: own.temperature };
  const { lambda = tuned.lambda, temperature = tuned.temperature } = asked === true ? {} : asked;
  if (!(lambda >= 0 && lambda <= 1)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The lambda of the cache must lie between 0 and 1, not ${lambda}.`,
    );
  }
  if (!(temperature > 0 && temperature < Number.POSITIVE_INFINITY)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The temperature of the cache must be above 0, not ${temperature}.`,
    );
  }
  return { lambda, temperature };
}

/** Whether a request has numbers of its own for the text so far. */
function asksForAnother(
  asked: RetrievalRequest['cache'],
  { lambda, temperature }: Partial<CacheSettings> = {},
): boolean {
  if (typeof asked !== 'object') return false;
  return (
    (asked.lambda !== undefined && asked.lambda !== lambda) ||
    (asked.temperature !== undefined && asked.temperature !== temperature)
  );
}

/** The datastores that a request reads, in its order. Errors: `INVALID_ARGUMENT`. */
export function pickedStores(
  open: OpenStores,
  { stores, lambdas }: Pick<RetrievalRequest, 'stores' | 'lambdas'>,
): readonly OpenStore[] {
  const names = stores ?? (lambdas && Object.keys(lambdas));
  if (names?.length === 0) {
    throw new KnnLMError('INVALID_ARGUMENT', 'A request must read at least one of the stores.');
  }
  return names ? [...new Set(names)].map((name) => open.named(name)) : open.stores;
}

/** Entries that a request must not retrieve: excluded documents, those it did not select, and the datastores it does not read. */
export function excludedEntries(
  open: OpenStores,
  request: Pick<RetrievalRequest, 'stores' | 'lambdas' | 'documents'>,
  documents: readonly string[] = [],
): IdRange[] {
  const picked = pickedStores(open, request);
  const others = open.stores.filter((store) => !picked.includes(store));
  return mergeRanges([
    ...others.map(({ range }) => range),
    ...documents.flatMap((id) => rangesOf(picked, id)),
    ...(request.documents ? rangesBeside(picked, request.documents) : []),
  ]);
}

/** What lies between the selected documents. Each of several datastores may hold none of them, but not all. */
function rangesBeside(stores: readonly OpenStore[], selection: DocumentSelection): IdRange[] {
  const failures: unknown[] = [];
  const ranges = stores.flatMap(({ datastore, range: [first, end] }) => {
    const beside: IdRange[] = [];
    let at = first;
    try {
      for (const { start, length } of selectDocuments(datastore.documents, selection)) {
        beside.push([at, first + start]);
        at = first + start + length;
      }
    } catch (error) {
      failures.push(error);
    }
    beside.push([at, end]);
    return beside;
  });
  if (failures.length === stores.length) throw failures[0];
  return ranges;
}

/** One id may be in several of the datastores. */
function rangesOf(stores: readonly OpenStore[], id: string): IdRange[] {
  const ranges = stores.flatMap(({ datastore, range }): IdRange[] => {
    const found = datastore.documents.find(id);
    if (!found) return [];
    return [[range[0] + found.start, range[0] + found.start + found.length]];
  });
  if (ranges.length > 0) return ranges;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `The datastore holds no document ${JSON.stringify(id)}.`,
  );
}

function storeLambdas(
  open: OpenStores,
  stores: readonly OpenStore[],
  { lambda, lambdas }: RetrievalRequest,
): StoreLambda[] {
  if (lambda !== undefined) {
    throw new KnnLMError('INVALID_ARGUMENT', 'Give one lambda, or lambdas by store, not both.');
  }
  const found = Object.entries(lambdas!).map(([name, share]) => {
    const store = open.named(name);
    if (!(share >= 0 && share <= 1)) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `The lambda of ${name} must lie between 0 and 1, not ${share}.`,
      );
    }
    return { name, lambda: share, range: store.range };
  });
  const missing = stores.find(({ name }) => lambdas![name] === undefined);
  const stray = found.find(({ name }) => !stores.some((store) => store.name === name));
  if (missing || stray) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      missing
        ? `The lambdas say nothing of ${missing.name}. Give each store its own, or leave it out.`
        : `There is a lambda for ${stray!.name}, which the request does not read.`,
    );
  }
  const all = sumOf(found);
  if (all > 1) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The lambdas of all stores must not exceed 1 together, but they add up to ${Number(all.toPrecision(6))}.`,
    );
  }
  return found;
}

/** 0.1 + 0.2 + 0.7 is 1, whatever the rounding. */
function sumOf(lambdas: readonly StoreLambda[]): number {
  const sum = lambdas.reduce((all, { lambda }) => all + lambda, 0);
  return Math.abs(sum - 1) < 1e-9 ? 1 : sum;
}
