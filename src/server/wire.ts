/**
 * What goes over the wire, as plain JSON: the OpenAI types where OpenAI has them, the /v1/knn family beside them.
 * Types only, so that a page can use them too; they are those of the schemas that requests are checked against.
 * Names are snake_case as in OpenAI's API.
 */
export type * from './schemas/chat.ts';
export type * from './schemas/common.ts';
export type * from './schemas/completions.ts';
export type * from './schemas/documents.ts';
export type * from './schemas/info.ts';
export type * from './schemas/models.ts';
export type * from './schemas/score.ts';
export type * from './schemas/search.ts';
