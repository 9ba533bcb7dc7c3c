/** GET /v1/models, /health and /metrics. */
import { z } from 'zod';
import { defineRoute } from '../route.ts';
import { healthReply, modelsReply } from '../schemas/models.ts';

export const models = defineRoute({
  method: 'get',
  path: '/v1/models',
  id: 'listModels',
  tag: 'OpenAI',
  summary: 'The model that is served.',
  reply: modelsReply,
  handle: (_, { service }) => ({
    object: 'list' as const,
    data: [
      {
        id: service.modelName,
        object: 'model' as const,
        created: service.created,
        owned_by: 'knnlm',
      },
    ],
  }),
});

export const health = defineRoute({
  method: 'get',
  path: '/health',
  id: 'health',
  tag: 'Server',
  summary: 'Whether new requests are taken.',
  reply: healthReply,
  open: true,
  handle: (_, { service }) => ({
    status: service.isStopping ? ('stopping' as const) : ('ok' as const),
  }),
});

export const metrics = defineRoute({
  method: 'get',
  path: '/metrics',
  id: 'metrics',
  tag: 'Server',
  summary: 'What the server has done, for Prometheus.',
  reply: z.string(),
  handle: (_, { service }) => service.metrics.page(),
});
