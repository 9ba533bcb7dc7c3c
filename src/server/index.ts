/** `knnlm/server`: the server for programs that embed it. */
export { createServer, type KnnServer, type Peer } from './create-server.ts';
export { giveHeapRoom } from './heap-room.ts';
export { type Listening, type ServeOptions, serve } from './listen.ts';
export type { ServerOptions } from './options.ts';
export type * from './wire.ts';
