/** Why a request is not answered, as a status and OpenAI's error object; and what of our own errors a client may know. */
import { basename } from 'node:path';
import { type ErrorCode, KnnLMError } from '../errors.ts';
import type { ErrorReply } from './wire.ts';

type ErrorType = ErrorReply['error']['type'];

export interface RefusalDetails {
  /** The field that was wrong. */
  param?: string;
  code?: string;
  /** When to try again, in seconds. */
  retryAfter?: number;
  /** Methods that may be used instead. */
  allow?: string;
}

/** Statuses and how OpenAI calls them. */
const TYPES: Record<number, ErrorType> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  405: 'invalid_request_error',
  409: 'conflict_error',
  413: 'invalid_request_error',
  415: 'invalid_request_error',
  429: 'rate_limit_error',
  503: 'overloaded_error',
};

export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly status: number;
  readonly details: RefusalDetails;

  /** @param message one line: what was wrong, the value seen, what to do next */
  constructor(status: number, message: string, details: RefusalDetails = {}) {
    super(message);
    this.status = status;
    this.details = details;
  }

  get reply(): ErrorReply {
    const { param = null, code = null } = this.details;
    const type = TYPES[this.status] ?? 'server_error';
    return { error: { message: this.message, type, param, code } };
  }

  response(): Response {
    const { retryAfter, allow } = this.details;
    const response = Response.json(this.reply, { status: this.status });
    if (retryAfter !== undefined) response.headers.set('retry-after', String(retryAfter));
    if (allow !== undefined) response.headers.set('allow', allow);
    return response;
  }
}

const STATUSES: Partial<Record<ErrorCode, number>> = {
  INVALID_ARGUMENT: 400,
  INVALID_DOCUMENT: 400,
  NO_DOCUMENTS: 409,
  STORE_LOCKED: 409,
  STORE_EXISTS: 409,
  MODEL_UNSUPPORTED: 400,
  INDEX_UNAVAILABLE: 503,
  DISK_FULL: 507,
};
/** Seconds after which another try has a chance. */
const RETRY_AFTER: Partial<Record<ErrorCode, number>> = { STORE_LOCKED: 2, INDEX_UNAVAILABLE: 5 };

/**
 * A `KnnLMError` is told, but for the folders it names, which become their names; of anything else a client hears
 * only that it happened.
 * @param folders that must not be told
 */
export function refusalOf(error: unknown, folders: readonly string[]): Refusal {
  if (error instanceof Refusal) return error;
  if (!(error instanceof KnnLMError)) {
    return new Refusal(500, 'This is a fault of the server. Its log says more.');
  }
  const { code } = error;
  return new Refusal(STATUSES[code] ?? 500, withoutFolders(error.message, folders), {
    code: code.toLowerCase(),
    retryAfter: RETRY_AFTER[code],
  });
}

function withoutFolders(message: string, folders: readonly string[]): string {
  return [...folders]
    .sort((a, b) => b.length - a.length)
    .reduce((text, folder) => text.replaceAll(folder, basename(folder)), message);
}
