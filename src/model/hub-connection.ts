/**
 * Talking to the Hugging Face hub, or a mirror of it (`HF_ENDPOINT`), with the user's token (`HF_TOKEN`) where there is one.
 * The token goes to the hub's own origin and nowhere else: files are served by redirects to storage hosts, which get none.
 */
import type { ListFileEntry } from '@huggingface/hub';
import { KnnLMError } from '../errors.ts';
import { packageVersion } from './model-files.ts';

const DEFAULT_ENDPOINT = 'https://huggingface.co';
const MAX_REDIRECTS = 8;

/** A failure that may pass: the connection broke or the server is busy. */
export class TransientError extends KnnLMError {}

export class HubConnection {
  readonly endpoint: string;
  readonly #origin: string;
  readonly #token: string | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #userAgent = `knnlm/${packageVersion()}`;

  constructor(signal?: AbortSignal) {
    this.endpoint = (process.env.HF_ENDPOINT || DEFAULT_ENDPOINT).replace(/\/+$/, '');
    if (!/^https?:$/.test(URL.canParse(this.endpoint) ? new URL(this.endpoint).protocol : '')) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `HF_ENDPOINT must be an http(s) address, but is ${JSON.stringify(this.endpoint)}. Unset it or give a mirror's address.`,
      );
    }
    this.#origin = new URL(this.endpoint).origin;
    this.#token = process.env.HF_TOKEN || undefined;
    if (this.#token !== undefined && !this.#token.startsWith('hf_')) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        'HF_TOKEN must start with "hf_". Correct or unset it.',
      );
    }
    this.#signal = signal;
  }

  fileUrl(id: string, path: string): string {
    return `${this.endpoint}/${id}/resolve/main/${path.split('/').map(encodeURIComponent).join('/')}`;
  }

  async listFiles(id: string): Promise<ListFileEntry[]> {
    const { listFiles } = await import('@huggingface/hub');
    const fetchListed: typeof fetch = async (input) => {
      const response = await this.fetch(String(input));
      if (!response.ok) throw this.refusal(id, response.status);
      return response;
    };
    const entries: ListFileEntry[] = [];
    const params = { repo: id, recursive: true, hubUrl: this.endpoint, fetch: fetchListed };
    try {
      for await (const entry of listFiles(params)) entries.push(entry);
    } catch (cause) {
      if (cause instanceof KnnLMError) throw cause;
      throw new KnnLMError(
        'DOWNLOAD_FAILED',
        `The listing of ${id} by ${this.#origin} cannot be read: ${cause instanceof Error ? cause.message : cause}. Check HF_ENDPOINT.`,
        { cause },
      );
    }
    return entries;
  }

  /** GET, following redirects by hand so that only the hub's origin sees the token. */
  async fetch(url: string, headers: Record<string, string> = {}): Promise<Response> {
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      const authorization =
        this.#token !== undefined && new URL(url).origin === this.#origin
          ? { Authorization: `Bearer ${this.#token}` }
          : undefined;
      let response: Response;
      try {
        response = await fetch(url, {
          // Compressed answers would break byte ranges and sizes.
          headers: {
            'User-Agent': this.#userAgent,
            'Accept-Encoding': 'identity',
            ...headers,
            ...authorization,
          },
          redirect: 'manual',
          signal: this.#signal,
        });
      } catch (cause) {
        throw this.unreachable(new URL(url).origin, cause);
      }
      const location = response.headers.get('location');
      if (response.status < 300 || response.status > 399 || location === null) return response;
      await response.body?.cancel();
      url = new URL(location, url).href;
    }
    throw new KnnLMError(
      'DOWNLOAD_FAILED',
      `${this.#origin} redirects in circles. Check HF_ENDPOINT.`,
    );
  }

  unreachable(origin: string, cause: unknown): KnnLMError {
    const inner = (cause as { cause?: { code?: string; message?: string } }).cause;
    const reason = inner?.code ?? inner?.message ?? (cause as Error).message;
    return new TransientError(
      'DOWNLOAD_FAILED',
      `Cannot reach ${origin} (${reason}). Check the network or set HF_ENDPOINT to a mirror; offline, use a model folder or the bundled wiki-mini-2.`,
      { cause },
    );
  }

  /** The error for an answer that is not the thing asked for. */
  refusal(id: string, status: number): KnnLMError {
    const page = `${this.endpoint}/${id}`;
    if (status === 401 || status === 403) {
      const token = this.#token === undefined ? 'set HF_TOKEN' : 'check that HF_TOKEN may read it';
      return new KnnLMError(
        'DOWNLOAD_FAILED',
        `${id} does not exist, is private or asks you to accept its terms (status ${status}). Check the name, accept the terms at ${page}, and ${token}.`,
      );
    }
    if (status === 404) {
      return new KnnLMError(
        'MODEL_NOT_FOUND',
        `There is no model ${id} at ${this.#origin} (status 404), nor a folder of that name. Check the spelling.`,
      );
    }
    return new TransientError(
      'DOWNLOAD_FAILED',
      `${page} answered with status ${status}. Try again later.`,
    );
  }
}
