/** The OpenAPI document, written from the routes and their schemas. */
import { z } from 'zod';
import { packageVersion } from '../model/model-files.ts';
import type { Route } from './route.ts';
import { COMPONENTS, errorReply } from './schemas/index.ts';

const JSON_TYPE = 'application/json';
const prefix = '#/components/schemas/';

type JsonObject = Record<string, unknown>;

export function openApiDocument(routes: readonly Route[]): JsonObject {
  const paths: Record<string, JsonObject> = {};
  for (const route of routes) {
    (paths[route.path] ??= {})[route.method] = operation(route);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'knnlm',
      version: packageVersion(),
      description:
        'A language model with a memory of documents: the OpenAI API, with p = λ p_kNN + (1 - λ) p_LM and its sources in the field `knn`.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths,
    components: {
      schemas: componentSchemas(),
      securitySchemes: { key: { type: 'http', scheme: 'bearer' } },
    },
    // A key, where the server was started with one.
    security: [{ key: [] }, {}],
  };
}

function componentSchemas(): JsonObject {
  const registry = z.registry<{ id: string }>();
  for (const [id, schema] of Object.entries(COMPONENTS)) schema.register(registry, { id });
  const { schemas } = z.toJSONSchema(registry, { io: 'input', uri: (id) => `${prefix}${id}` });
  return Object.fromEntries(
    Object.entries(schemas).map(([id, { $schema: _, $id: __, ...schema }]) => [id, schema]),
  );
}

/** A component where the schema is one, else the schema itself. */
function schemaOf(schema: z.ZodType): JsonObject {
  const [id] = Object.entries(COMPONENTS).find(([, component]) => component === schema) ?? [];
  if (id !== undefined) return { $ref: `${prefix}${id}` };
  const { $schema: _, ...plain } = z.toJSONSchema(schema, { io: 'input' });
  return plain;
}

function operation({ id, tag, summary, open, ...route }: Route): JsonObject {
  const { body, query } = route;
  const inPath = [...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string', minLength: 1 },
  }));
  const parameters = [...inPath, ...(query ? queryParameters(query) : [])];
  return {
    operationId: id,
    summary,
    tags: [tag],
    ...(open && { security: [{}] }),
    ...(parameters.length > 0 && { parameters }),
    ...(body && {
      requestBody: { required: true, content: { [JSON_TYPE]: { schema: schemaOf(body) } } },
    }),
    responses: responses(route),
  };
}

function queryParameters(query: z.ZodType): JsonObject[] {
  const { properties = {}, required = [] } = z.toJSONSchema(query, { io: 'output' });
  return Object.entries(properties).map(([name, property]) => {
    const { description, ...schema } = property as JsonObject;
    return { name, in: 'query', required: required.includes(name), schema, description };
  });
}

/** Statuses of refusals, with why. */
const REFUSALS: readonly [status: number, description: string][] = [
  [400, 'The request is wrong; the message names the field and the value seen.'],
  [401, 'The key is missing or wrong.'],
  [403, 'Not from this page, under this name, or at all: the server only reads.'],
  [404, 'There is no such model, store or document.'],
  [409, 'The stores are being changed, or hold such a document already.'],
  [413, 'The body is too large.'],
  [415, 'The body is not JSON.'],
  [429, 'Too many requests of this client wait. `Retry-After` says when to try again.'],
  [503, 'Too many requests wait, the time is up, or the server is being stopped.'],
  [507, 'The disk of the server is full.'],
];

function responses({ body, reply, event, path }: Pick<Route, 'body' | 'reply' | 'event' | 'path'>) {
  const isText = reply instanceof z.ZodString;
  const content = {
    [isText ? 'text/plain' : JSON_TYPE]: { schema: schemaOf(reply) },
    // OpenAPI 3.1 has no words for a stream of events: this is what the data of each is.
    ...(event && { 'text/event-stream': { 'x-event-schema': schemaOf(event) } }),
  };
  const error = { content: { [JSON_TYPE]: { schema: schemaOf(errorReply) } } };
  const refusals = REFUSALS.filter(
    ([status]) => (body || ![413, 415].includes(status)) && (path !== '/health' || status < 401),
  );
  return {
    200: { description: 'The reply.', content },
    ...Object.fromEntries(
      refusals.map(([status, description]) => [status, { description, ...error }]),
    ),
  };
}
