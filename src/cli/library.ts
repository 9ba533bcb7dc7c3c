/** The types of the library's answers that views print. */
import type { describeModel } from '../model/describe-model.ts';
import type { datastoreInfo } from '../open.ts';

export type StoreInfo = Awaited<ReturnType<typeof datastoreInfo>>;
export type ModelDescription = Awaited<ReturnType<typeof describeModel>>;
