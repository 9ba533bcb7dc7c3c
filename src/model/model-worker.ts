/**
 * Entry of a model worker thread: answers `worker-protocol.ts` requests one after another; those of decoders as `decoding/` sees fit,
 * which lets them share runs.
 */

import { parentPort } from 'node:worker_threads';
import { yieldToEventLoop } from '../worker-priority.ts';
import { compareProvider } from './compare-provider.ts';
import { type InspectRequest, inspectModel } from './inspect-model.ts';
import { type FactsRequest, type ModelFacts, readModelFacts } from './model-facts.ts';
import { readModelJson } from './model-files.ts';
import { ModelRuntime } from './model-runtime.ts';
import { LentRooms } from './state-rooms.ts';
import { outlineTokenizer } from './tokenizer-outline.ts';
import {
  type RequestMessage,
  type RequestName,
  type Requests,
  type ResponseMessage,
  type RuntimePlan,
  serializeError,
} from './worker-protocol.ts';

type Answer = { response: unknown; transfer: ArrayBuffer[] };
type Request<Name extends RequestName> = Requests[Name]['request'];

// onnxruntime-node 1.30 turns float16 tensors into Float16Array where that exists (from Node 24 on), and then reads them as empty.
// Without the type it keeps to the bits, as on Node 20. This thread is ours alone, and nothing in it wants the type.
Reflect.deleteProperty(globalThis, 'Float16Array');

yieldToEventLoop();

const port = parentPort!;
let runtime: ModelRuntime | undefined;
const rooms = new LentRooms();
/** Requests wait for one another: the thread can only do one thing. */
let last: Promise<void> = Promise.resolve();

port.on('message', (messages: RequestMessage[] | 'close') => {
  if (messages === 'close') {
    last = last.then(async () => {
      await runtime?.close();
      port.close();
    });
    return;
  }
  for (const message of messages) {
    if (DECODING.has(message.name)) void respond(message);
    else last = last.then(() => respond(message));
  }
});

/** Decoders keep the order of what is asked of each of them. */
const DECODING = new Set<RequestName>([
  'startDecoding',
  'lend',
  'read',
  'readAll',
  'step',
  'reset',
  'endDecoding',
]);

async function respond({ id, name, request }: RequestMessage): Promise<void> {
  try {
    const { response, transfer } = await answer(name, request);
    send({ id, response }, transfer);
  } catch (error) {
    send({ id, error: serializeError(error) }, []);
  }
}

let outgoing: ResponseMessage[] = [];
let transferred: ArrayBuffer[] = [];

/** What is answered in one breath, as the steps of a batch are, goes in one message. */
function send(response: ResponseMessage, transfer: readonly ArrayBuffer[]): void {
  if (outgoing.push(response) === 1) queueMicrotask(flush);
  transferred.push(...transfer);
}

function flush(): void {
  port.postMessage(outgoing, transferred);
  outgoing = [];
  transferred = [];
}

async function answer(name: RequestName, request: unknown): Promise<Answer> {
  if (name === 'inspect') return plain(inspectModel(request as InspectRequest));
  if (name === 'facts') return plain(await outlineFacts(request as FactsRequest));
  if (name === 'compareProvider') return plain(await compareProvider(request as RuntimePlan));
  if (name === 'open') {
    runtime = await ModelRuntime.open(request as RuntimePlan);
    return plain(undefined);
  }
  if (runtime === undefined) throw new Error(`Model worker was asked for ${name} before open.`);
  switch (name) {
    case 'prepare':
      await runtime.prepare(request as Request<'prepare'>);
      return plain(undefined);
    case 'keys': {
      const { windows, sources } = request as Request<'keys'>;
      const keys = await runtime.keys(windows, sources);
      return { response: keys, transfer: keys.map(bufferOf) };
    }
    case 'score': {
      const { windows, targets, sources } = request as Request<'score'>;
      const scored = await runtime.score(windows, targets, sources);
      const arrays = scored.flatMap((window) => [window.keys, window.logProbs, window.best]);
      return { response: scored, transfer: arrays.map(bufferOf) };
    }
    case 'lend': {
      const { decoder, buffers } = request as Request<'lend'>;
      return plain(rooms.lend(decoder, buffers));
    }
    case 'startDecoding':
      return plain(await runtime.startDecoding(request as Request<'startDecoding'>));
    case 'read': {
      const { decoder, tokens } = request as Request<'read'>;
      const next = await runtime.read(decoder, tokens);
      const room = rooms.put(decoder, next);
      if (room !== undefined) return plain({ room });
      return withArrays({ key: owned(next.key), logProbs: owned(next.logProbs) });
    }
    case 'readAll': {
      const { decoder, tokens, wanted } = request as Request<'readAll'>;
      const { keys, logProbs } = await runtime.readAll(decoder, tokens, wanted);
      return withArrays({ keys: owned(keys), logProbs: owned(logProbs) });
    }
    case 'step': {
      const { decoder, parents, tokens } = request as Request<'step'>;
      const { keys, logProbs } = await runtime.step(decoder, parents, tokens);
      return withArrays({ keys: owned(keys), logProbs: owned(logProbs) });
    }
    case 'reset':
      return plain(runtime.resetDecoder(request as number));
    case 'endDecoding':
      rooms.end(request as number);
      return plain(runtime.endDecoding(request as number));
    default:
      throw new Error(`Unknown request ${name satisfies never}`);
  }
}

async function outlineFacts(request: FactsRequest): Promise<ModelFacts> {
  const { folder } = request.request;
  const json = await readModelJson(folder);
  return readModelFacts(request, json, outlineTokenizer(folder, json.tokenizerBytes));
}

const plain = (response: unknown): Answer => ({ response, transfer: [] });
const bufferOf = (array: Float32Array): ArrayBuffer => array.buffer as ArrayBuffer;
/** With a buffer of its own, which can leave the thread. */
const owned = (array: Float32Array): Float32Array =>
  array.byteLength === array.buffer.byteLength ? array : array.slice();
const withArrays = (response: Record<string, Float32Array>): Answer => ({
  response,
  transfer: Object.values(response).map(bufferOf),
});
