/**
 * The one error a user can mend.
 *
 * The message is one line: what was wrong, the value seen, what to do next. The command line prints it and exits with 2.
 * A broken assumption of ours throws a plain `Error` instead and keeps its stack.
 */
export type ErrorCode =
  | 'INVALID_ARGUMENT'
  | 'INVALID_DOCUMENT'
  | 'NO_DOCUMENTS'
  | 'MODEL_NOT_FOUND'
  | 'MODEL_INVALID'
  | 'MODEL_UNSUPPORTED'
  | 'MODEL_MISMATCH'
  | 'DOWNLOAD_FAILED'
  | 'STORE_NOT_FOUND'
  | 'STORE_EXISTS'
  | 'STORE_CORRUPT'
  | 'STORE_LOCKED'
  | 'STORE_VERSION'
  | 'INDEX_UNAVAILABLE'
  | 'IO'
  | 'DISK_FULL'
  | 'ABORTED';

export class KnnLMError extends Error {
  override readonly name = 'KnnLMError';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** A `KnnLMError` for a failed file operation, with the reason in words a user knows. */
export function ioError(action: string, path: string, cause: unknown): KnnLMError {
  const code = (cause as NodeJS.ErrnoException)?.code;
  const reasons: Record<string, string> = {
    ENOENT: 'it does not exist',
    EACCES: 'permission denied',
    EPERM: 'permission denied',
    EROFS: 'the file system is read-only',
    ENOSPC: 'the disk is full',
    EDQUOT: 'the disk quota is used up',
    EISDIR: 'it is a folder',
    ENOTDIR: 'a part of the path is not a folder',
    EMFILE: 'too many files are open',
    EIO: 'the device reported a read or write error',
  };
  const reason = reasons[code ?? ''] ?? (cause instanceof Error ? cause.message : String(cause));
  const kind = code === 'ENOSPC' || code === 'EDQUOT' ? 'DISK_FULL' : 'IO';
  return new KnnLMError(kind, `Cannot ${action} ${path}: ${reason}.`, { cause });
}
