/** Where a collection is: `milvus://host:port/collection`, or `milvuss://` with TLS, as an address that can be written down. */
import { KnnLMError } from '../../errors.ts';

export type MilvusUrl = `milvus://${string}` | `milvuss://${string}`;

export interface MilvusAddress {
  host: string;
  port: number;
  tls: boolean;
  /** Undefined is the server's default one. */
  database?: string;
  collection: string;
  /** Index type asked for with `?index=`; undefined leaves the choice to the number of entries. */
  indexType?: string;
  /** One of several stores in the collection, by name or number: `?store=`. */
  store?: string;
}

const DEFAULT_PORT = 19530;
/** What Milvus allows. */
const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,254}$/;
export const INDEX_TYPES = [
  'FLAT',
  'IVF_FLAT',
  'IVF_SQ8',
  'IVF_RABITQ',
  'HNSW',
  'DISKANN',
] as const;

export type IndexType = (typeof INDEX_TYPES)[number];

export const isMilvusUrl = (text: string): text is MilvusUrl => /^milvuss?:\/\//i.test(text);

/** @param text `milvus://host[:port][/database]/collection[?index=TYPE][?store=NAME]`. Errors: `INVALID_ARGUMENT`. */
export function parseMilvusUrl(text: string): MilvusAddress {
  let url: URL;
  try {
    // URL knows hosts and ports of known schemes only.
    url = new URL(text.replace(/^milvus/i, 'http'));
  } catch {
    throw refused(text, 'it is not a URL');
  }
  if (url.username || url.password) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `A Milvus address must not hold a password: a command line is seen by everybody on the machine. Put the token (or user:password) in the environment variable KNNLM_MILVUS_TOKEN and leave out what stands before @${url.host}.`,
    );
  }
  const names = url.pathname.split('/').filter((name) => name !== '');
  const collection = names.pop();
  if (collection === undefined) throw refused(text, 'the name of the collection is missing');
  if (names.length > 1) throw refused(text, 'the path has more than a database and a collection');
  for (const name of [...names, collection]) {
    if (!NAME.test(name))
      throw refused(text, `${JSON.stringify(name)} is not a name: letters, digits and _ only`);
  }
  const indexType = url.searchParams.get('index')?.toUpperCase();
  if (indexType !== undefined && !(INDEX_TYPES as readonly string[]).includes(indexType))
    throw refused(text, `the index type must be one of ${INDEX_TYPES.join(', ')}`);
  const store = url.searchParams.get('store');
  return {
    host: url.hostname,
    port: portOf(url),
    tls: /^milvuss:/i.test(text),
    ...(names[0] !== undefined && { database: names[0] }),
    collection,
    ...(indexType !== undefined && { indexType }),
    ...(store !== null && { store }),
  };
}

function portOf({ port, protocol }: URL): number {
  if (port !== '') return Number(port);
  // Ports that URL drops, being the schemes' own, are never Milvus's: they were not given.
  return protocol === 'https:' ? 443 : DEFAULT_PORT;
}

/** The address without what only a build needs. */
export function formatMilvusUrl({ host, port, tls, database, collection }: MilvusAddress): string {
  const path = database === undefined ? collection : `${database}/${collection}`;
  return `${tls ? 'milvuss' : 'milvus'}://${host}:${port}/${path}`;
}

const refused = (text: string, why: string): KnnLMError =>
  new KnnLMError(
    'INVALID_ARGUMENT',
    `${JSON.stringify(text)} is no address of a Milvus collection: ${why}. Write milvus://host:${DEFAULT_PORT}/collection, or milvuss:// for TLS.`,
  );
