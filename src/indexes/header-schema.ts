/** What the headers of indexes must look like. Apart from their readers because it loads zod. */
import { z } from 'zod';

const count = z.int().min(0);
const positive = z.int().min(1);
const range = z.tuple([count, count]);
const evidence = z.record(z.string(), z.unknown()).nullable();
const numbers = z.record(z.string(), z.number());

const source = z.strictObject({
  name: z.string(),
  dtype: z.enum(['fp16', 'fp32']),
  count,
  crc32: count,
});

export const ivfHeaderSchema = z.strictObject({
  format: z.literal('knnlm-ivf'),
  version: z.literal([1, 2]),
  dim: positive.max(65_536),
  entries: count.max(2 ** 31),
  lists: positive.max(2 ** 24),
  sources: z.array(source),
  unit: z.number().positive(),
  file: z.strictObject({
    name: z.string().regex(/^lists-[0-9a-f]+\.bin$/),
    bytes: count,
    tableCrc32: count,
  }),
  settings: z.strictObject({
    probes: positive,
    rerank: z.number().min(0),
    spreadWeight: z.number(),
  }),
  evidence,
  codec: z
    .strictObject({
      name: z.string(),
      subquantizers: positive.max(4096),
      bits: z.literal([4, 8]),
    })
    .optional(),
});

const storedFile = z.strictObject({
  name: z.string(),
  sha256: z.string(),
  first: positive,
  chunks: positive,
});

/** Of a file in the collection of stores. */
export const catalogSchema = z.array(storedFile);

export const publishedStoreSchema = z.strictObject({
  format: z.literal('knnlm-store'),
  version: z.literal(1),
  name: z.string().min(1),
  partition: z.strictObject({ name: z.string().min(1), number: count.max(2 ** 21) }),
  revision: z.string(),
  replaces: z.array(z.string()),
  catalog: storedFile,
  next: positive,
});

export const milvusHeaderSchema = z.strictObject({
  format: z.literal('knnlm-milvus'),
  version: z.literal(1),
  url: z.string().regex(/^milvuss?:\/\//),
  partition: z.strictObject({ name: z.string().min(1), number: count.max(2 ** 21) }),
  dim: positive.max(65_536),
  dtype: z.enum(['fp16', 'fp32']),
  entries: count.max(2 ** 31),
  sent: count,
  sources: z.array(source),
  removed: z.array(range),
  samples: z.array(z.strictObject({ entry: count, value: count })),
  index: z.strictObject({ type: z.string(), params: numbers }).nullable(),
  settings: z.strictObject({ params: numbers, rerank: z.number().min(0) }).nullable(),
  evidence,
  notes: z.array(z.string()),
  isStale: z.literal(true).optional(),
  retired: z.array(z.strictObject({ url: z.string(), partition: z.string() })),
});

/** The first thing that does not fit, in words. */
export function problemOf(schema: z.ZodType, header: unknown): string | undefined {
  const parsed = schema.safeParse(header);
  if (parsed.success) return undefined;
  const { path, message } = parsed.error.issues[0]!;
  return `${path.join('.') || 'the whole'}: ${message}`;
}
