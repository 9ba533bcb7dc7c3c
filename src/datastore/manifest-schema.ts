/** What a manifest must look like. Apart from manifest.ts because it loads zod. */
import { z } from 'zod';
import { expertCount, featureCount, type GateShape, skipFeatureCount } from './gate-sizes.ts';

const SIZES = 'the sizes do not fit together';

const count = z.int().min(0);
const positive = z.int().min(1);
const metadata = z.record(z.string(), z.unknown());
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

const segment = z.strictObject({
  name: z.string().regex(/^\d{6,}$/),
  entries: count,
  documents: count,
  documentBytes: count,
  keys: z.literal(false).optional(),
});

const partialDocument = z.strictObject({
  id: z.string(),
  source: z.string(),
  hash: sha256,
  length: positive,
  entriesDone: count,
  metadata: metadata.optional(),
  sourceText: z.string().optional(),
});

const pairs = z.strictObject({
  sourcePrefix: z.string().optional(),
  sourceLanguage: z.string().optional(),
  targetLanguage: z.string().optional(),
});

const gate = z
  .strictObject({
    temperatures: z.array(z.number().positive()).min(1),
    ranks: z.array(positive),
    usesModel: z.boolean().optional(),
    runs: z.array(z.number().positive()).min(1).optional(),
    cache: z
      .strictObject({
        temperatures: z.array(z.number().positive()).min(1),
        ranks: z.array(positive),
      })
      .optional(),
    means: z.array(z.number()),
    deviations: z.array(z.number().positive()),
    weights: z.array(z.array(z.number())),
  })
  .refine((one) => {
    const features = featureCount(one as GateShape);
    return (
      one.means.length === features &&
      one.deviations.length === features &&
      one.weights.length === expertCount(one as GateShape) &&
      one.weights.every((row) => row.length === features + 1)
    );
  }, SIZES);

const skip = z
  .strictObject({
    gate,
    means: z.array(z.number()),
    deviations: z.array(z.number().positive()),
    weights: z.array(z.number()),
    thresholds: z
      .array(z.strictObject({ skipped: z.number().min(0).max(1), threshold: z.number() }))
      .min(1),
  })
  .refine(({ gate: own, means, deviations, weights }) => {
    const features = skipFeatureCount(own as GateShape);
    // Without squares in stores that were tuned before there were any.
    const sizes = [features + 1, 2 * features + 1];
    return (
      means.length === features && deviations.length === features && sizes.includes(weights.length)
    );
  }, SIZES);

const settings = z.strictObject({
  k: positive,
  lambda: z.number().min(0).max(1),
  temperature: z.number().positive(),
  source: z.enum(['default', 'given', 'self-tuned', 'tuned']),
  gate: gate.optional(),
  cache: z
    .strictObject({ lambda: z.number().min(0).max(1), temperature: z.number().positive() })
    .optional(),
  pointers: z.literal(true).optional(),
  skip: skip.optional(),
  adaptive: z.number().min(0).max(1).optional(),
  effort: z.number().positive().optional(),
  evidence: metadata.optional(),
});

export const manifestSchema = z.strictObject({
  format: z.literal('knnlm-datastore'),
  version: z.literal([1, 2, 3, 4]),
  model: z.strictObject({
    name: z.string(),
    family: z.string(),
    file: z.string(),
    contextLength: positive,
  }),
  fingerprint: z.strictObject({
    weights: z.string(),
    tokenizer: z.string(),
    dtype: z.string(),
    keyTensor: z.string(),
    provider: z.string(),
  }),
  key: z.strictObject({
    name: z.string().nullable(),
    tensor: z.string(),
    dim: positive,
    dtype: z.enum(['fp16', 'fp32']),
  }),
  values: z.strictObject({ dtype: z.enum(['u16', 'u32']), vocabSize: positive.max(2 ** 32) }),
  bos: count,
  eos: count,
  window: positive,
  stride: positive,
  pairs: pairs.optional(),
  segments: z.array(segment).min(1),
  deleted: z.array(z.tuple([count, count])),
  settings: settings.nullable(),
  building: z
    .strictObject({ mode: z.enum(['build', 'add']), document: partialDocument.nullable() })
    .nullable(),
  codes: z
    .string()
    .regex(/^lists-[0-9a-f]+\.bin$/)
    .optional(),
  remote: z.literal(true).optional(),
});
