/** GET /v1/knn/map and POST /v1/knn/map/project: keys on a plane. */
import { defineRoute } from '../route.ts';
import { mapQuery, mapReply, projectReply, projectRequest } from '../schemas/search.ts';
import { readContext } from './search.ts';

const DEFAULT_SAMPLE = 2000;

export const map = defineRoute({
  method: 'get',
  path: '/v1/knn/map',
  id: 'getMap',
  tag: 'Memory',
  summary: 'A sample of the keys on the plane of their first two principal components.',
  query: mapQuery,
  reply: mapReply,
  readsStores: true,
  async handle({ query }, call) {
    const { service } = call;
    const store = service.store(query.store);
    const drawn = await call.work(() => service.maps.of(store, query.sample ?? DEFAULT_SAMPLE));
    const documents = new Map<string, number>();
    const at = drawn.places.map(({ document }) => {
      const known = documents.get(document) ?? documents.size;
      documents.set(document, known);
      return known;
    });
    const { tokenizer } = service.knnlm.model;
    return {
      store: store.name,
      x: Array.from(drawn.x),
      y: Array.from(drawn.y),
      entries: Array.from(drawn.entries),
      targets: Array.from(drawn.targets, (id) => tokenizer.tokenText(id)),
      target_ids: Array.from(drawn.targets),
      documents: at,
      positions: drawn.places.map(({ position }) => position),
      document_ids: [...documents.keys()],
      variance: drawn.variance,
    };
  },
});

export const projectContext = defineRoute({
  method: 'post',
  path: '/v1/knn/map/project',
  id: 'projectContext',
  tag: 'Memory',
  summary: 'Where a context lies on the map of the same store and sample.',
  body: projectRequest,
  reply: projectReply,
  readsStores: true,
  async handle({ body }, call) {
    const { service } = call;
    const store = service.store(body.store);
    const context = await readContext(body, call);
    return await call.work(async () => {
      const drawn = await service.maps.of(store, body.sample ?? DEFAULT_SAMPLE);
      return drawn.project(await service.knnlm.query(context.ids));
    });
  },
});
