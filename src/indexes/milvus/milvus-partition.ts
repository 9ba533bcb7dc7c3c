/**
 * A datastore's partition in a shared collection. Its name says what is in it, so that entries of another model are never
 * taken for one's own: `knnlm1_<model>_<number>_<build>`. Ids start at number × 2³¹: no two datastores share one.
 */
import { randomBytes } from 'node:crypto';
import { KnnLMError } from '../../errors.ts';
import { formatMilvusUrl } from './milvus-address.ts';
import type { MilvusCollection } from './milvus-collection.ts';

export interface MilvusPartition {
  name: string;
  /** Of the datastore within the collection. */
  number: number;
}

/** Ids stay exact in a double. */
const MOST_NUMBER = 2 ** 21;
const ENTRIES = 2 ** 31;
const PATTERN = /^knnlm1_([0-9a-f]{12})_(\d+)_[0-9a-f]{8}$/;

/** Undefined for a partition of something else. */
export function partitionOf(name: string): MilvusPartition | undefined {
  const [, , number] = PATTERN.exec(name) ?? [];
  return number === undefined ? undefined : { name, number: Number(number) };
}

/** Id of a datastore's first entry. */
export const firstId = ({ number }: MilvusPartition): number => number * ENTRIES;

/**
 * Makes a new one with a number of its own.
 * @param model 12 hexadecimal digits that tell the model and its keys
 * Errors: `INVALID_ARGUMENT` when the collection holds keys of another model.
 */
export async function createPartition(
  collection: MilvusCollection,
  model: string,
): Promise<MilvusPartition> {
  for (;;) {
    const taken = numbers(await collection.partitions(), collection, model);
    let number = 0;
    while (taken.has(number)) number++;
    if (number >= MOST_NUMBER) throw new Error('All numbers of the collection are taken.');
    const name = `knnlm1_${model}_${number}_${randomBytes(4).toString('hex')}`;
    await collection.createPartition(name);
    // Of two that took one number at the same time the first by name keeps it.
    const rivals = numbers(await collection.partitions(), collection, model).get(number) ?? [];
    if (rivals.every((rival) => rival >= name)) return { name, number };
    await collection.dropPartition(name);
  }
}

/** Names by number. */
function numbers(
  names: readonly string[],
  { address }: MilvusCollection,
  model: string,
): Map<number, string[]> {
  const taken = new Map<number, string[]>();
  for (const name of names) {
    const match = PATTERN.exec(name);
    if (!match) continue;
    if (match[1] !== model) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `The collection ${formatMilvusUrl(address)} holds keys of another model. A collection serves datastores of one model: name another.`,
      );
    }
    const number = Number(match[2]);
    taken.set(number, [...(taken.get(number) ?? []), name]);
  }
  return taken;
}
