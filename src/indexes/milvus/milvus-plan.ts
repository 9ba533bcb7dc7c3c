/**
 * Which index a collection gets by its number of entries, and what is tried to find how it is searched.
 *
 * Exact search reads every key: 10⁵ of 256 float16 dimensions are 50 MB a query. Beyond, an inverted file; from 10⁷ on
 * with a byte per dimension instead of two, from 2·10⁸ on with a bit (RaBitQ) and the server's own refinement. Graphs (HNSW)
 * are chosen only when asked for: they must visit more nodes than the k = 1,024 neighbors that the method wants, and links
 * cost as much memory as short keys do.
 */
import type { IndexType } from './milvus-address.ts';
import type { MilvusSettings } from './milvus-header.ts';

export interface IndexPlan {
  type: IndexType;
  params: Record<string, number>;
}

const EXACT_ENTRIES = 100_000;
const BYTES_ENTRIES = 10_000_000;
const BITS_ENTRIES = 200_000_000;
/** Lists are made in each segment by itself; a sealed one is about 1 GiB. */
const SEGMENT_BYTES = 2 ** 30;

/** In the order in which they are asked for: the first that the server has is taken. */
export function indexPlans(entries: number, keyBytes: number, wanted?: string): IndexPlan[] {
  const rows = Math.min(entries, SEGMENT_BYTES / keyBytes);
  const nlist = 2 ** Math.round(Math.log2(Math.max(16, 4 * Math.sqrt(rows))));
  const plans: Record<IndexType, IndexPlan> = {
    FLAT: { type: 'FLAT', params: {} },
    IVF_FLAT: { type: 'IVF_FLAT', params: { nlist } },
    IVF_SQ8: { type: 'IVF_SQ8', params: { nlist } },
    IVF_RABITQ: { type: 'IVF_RABITQ', params: { nlist } },
    HNSW: { type: 'HNSW', params: { M: 32, efConstruction: 200 } },
    DISKANN: { type: 'DISKANN', params: {} },
  };
  if (wanted !== undefined) return [plans[wanted as IndexType]];
  if (entries <= EXACT_ENTRIES) return [plans.FLAT];
  if (entries <= BYTES_ENTRIES) return [plans.IVF_FLAT, plans.FLAT];
  if (entries <= BITS_ENTRIES) return [plans.IVF_SQ8, plans.IVF_FLAT];
  return [plans.IVF_RABITQ, plans.IVF_SQ8, plans.IVF_FLAT];
}

/** Keys compared exactly per neighbor wanted, for distances that come from codes; bits need more than bytes. */
const RERANK: Partial<Record<string, number[]>> = {
  IVF_SQ8: [0, 1.25],
  IVF_RABITQ: [2, 4],
  DISKANN: [0, 1.25],
};

/** Settings from the quickest to the most exact. */
export function* settingsLadder(
  { type, params }: { type: string; params: Record<string, unknown> },
  k: number,
): Generator<MilvusSettings> {
  const reranks = RERANK[type] ?? [0, 1];
  for (const rerank of reranks) {
    if (type.startsWith('IVF')) {
      for (const nprobe of ladder(Number(params.nlist ?? 128)))
        yield { params: { nprobe }, rerank };
    } else if (type === 'HNSW') {
      for (const times of [1, 1.5, 2, 4, 8]) yield { params: { ef: Math.ceil(k * times) }, rerank };
    } else if (type === 'DISKANN') {
      for (const times of [1, 1.5, 2, 4])
        yield { params: { search_list: Math.ceil(k * times) }, rerank };
    } else yield { params: {}, rerank };
  }
}

/** 8, 16, 32, … and all lists. */
function* ladder(lists: number): Generator<number> {
  for (let probes = 8; probes < lists; probes *= 2) yield probes;
  yield lists;
}
