/** GET /v1/models, /health and /metrics. */
import { z } from 'zod';
import type { Call } from '../call.ts';
import { checkModel } from '../completions/request.ts';
import { defineRoute } from '../route.ts';
import { healthReply, modelReply, modelsReply } from '../schemas/models.ts';
import type { ModelReply } from '../wire.ts';

export const models = defineRoute({
  method: 'get',
  path: '/v1/models',
  id: 'listModels',
  tag: 'OpenAI',
  summary: 'The model that is served.',
  reply: modelsReply,
  handle: (_, { service }) => ({ object: 'list' as const, data: [told(service)] }),
});

export const model = defineRoute({
  method: 'get',
  path: '/v1/models/{id}',
  id: 'getModel',
  tag: 'OpenAI',
  summary: 'The model, when it is the one that is served.',
  reply: modelReply,
  handle({ params: { id } }, call) {
    checkModel(id, call);
    return told(call.service);
  },
});

function told({ modelName: id, created }: Call['service']): ModelReply {
  return { id, object: 'model', created, owned_by: 'knnlm' };
}

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
