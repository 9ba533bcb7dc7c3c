/** What the server can be asked: one object per route, from which requests are checked and the OpenAPI document is written. */
import type { z } from 'zod';
import type { Call } from './call.ts';
import type { Events } from './event-stream.ts';

/** A request as it was checked. */
export interface Input<Body, Query> {
  body: Body;
  query: Query;
  /** Parts of the path, decoded. */
  params: Readonly<Record<string, string>>;
}

interface Definition<Body, Query, Reply, Event extends object> {
  method: 'get' | 'post' | 'delete';
  /** With `{name}` where a part may vary. */
  path: string;
  /** By which generated clients call it. */
  id: string;
  tag: 'OpenAI' | 'Memory' | 'Tokenizer' | 'Server';
  /** One sentence. */
  summary: string;
  body?: z.ZodType<Body>;
  query?: z.ZodType<Query>;
  reply: z.ZodType<Reply>;
  /** Of a stream, each. */
  event?: z.ZodType<Event>;
  /** Needs no key. */
  open?: boolean;
  /** Its body is a document. */
  takesDocument?: boolean;
  /** It reads the stores: what other processes did to them is taken up first. */
  readsStores?: boolean;
  handle: (
    input: Input<Body, Query>,
    call: Call,
  ) => Promise<Reply | Events<Event> | Response> | Reply | Response;
}

export type Route = Definition<unknown, unknown, unknown, object>;

/** Checks that what a route answers is what its schemas say. */
export function defineRoute<
  Reply,
  Body = undefined,
  Query = undefined,
  Event extends object = never,
>(route: Definition<Body, Query, Reply, Event>): Route {
  return route as unknown as Route;
}
