/** `providerOptions.knnlm`: what the AI SDK has no name for. */
import { z } from 'zod';
import { KnnLMError } from '../errors.ts';
import type { GenerateRequest } from '../knnlm/generation-types.ts';

const optionsSchema = z.strictObject({
  k: z.int().min(1).optional(),
  lambda: z.number().min(0).max(1).optional(),
  temperature: z.number().positive().optional(),
  gate: z.boolean().optional(),
  cache: z.boolean().optional(),
  pointers: z.boolean().optional(),
  adaptive: z.union([z.boolean(), z.number().min(0).max(1)]).optional(),
  effort: z.number().positive().optional(),
  stores: z.array(z.string()).min(1).optional(),
  excludeDocuments: z.array(z.string()).optional(),
  neighbors: z.int().min(0).optional(),
  around: z.int().min(0).optional(),
  minP: z.number().min(0).max(1).optional(),
  repetitionPenalty: z.number().positive().optional(),
});

/** Settings of the memory, what is told of it, and two ways of sampling. `temperature` is that of the neighbors. */
export type KnnLMOptions = z.infer<typeof optionsSchema>;

/** Errors: `INVALID_ARGUMENT` naming the option. */
export function readOptions(given: unknown): KnnLMOptions {
  const result = optionsSchema.safeParse(given ?? {});
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  const name = ['providerOptions', 'knnlm', ...path].join('.');
  throw new KnnLMError('INVALID_ARGUMENT', `${name}: ${message}.`);
}

export function memoryOf(options: KnnLMOptions): GenerateRequest {
  const { k, lambda, temperature, gate, cache, pointers, adaptive, effort, stores, ...rest } =
    options;
  return {
    ...rest,
    knn: { k, lambda, temperature, gate, cache, pointers, adaptive, effort, stores },
  };
}
