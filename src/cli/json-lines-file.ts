/** A file of JSON lines that is written while its rows come. */
import { type FileHandle, open } from 'node:fs/promises';
import { ioError } from '../errors.ts';

/** Rows written at once. */
const ROWS = 1024;

export class JsonLinesFile {
  readonly #path: string;
  readonly #file: FileHandle;

  private constructor(path: string, file: FileHandle) {
    this.#path = path;
    this.#file = file;
  }

  /** What is there is overwritten. Errors: `IO`, `DISK_FULL`. */
  static async open(path: string): Promise<JsonLinesFile> {
    try {
      return new JsonLinesFile(path, await open(path, 'w'));
    } catch (error) {
      throw ioError('write', path, error);
    }
  }

  /** Errors: `IO`, `DISK_FULL`. */
  async write(rows: Iterable<unknown>): Promise<void> {
    let lines: string[] = [];
    for (const row of rows) {
      lines.push(`${JSON.stringify(row)}\n`);
      if (lines.length < ROWS) continue;
      await this.#append(lines);
      lines = [];
    }
    if (lines.length > 0) await this.#append(lines);
  }

  async close(): Promise<void> {
    await this.#file.close();
  }

  async #append(lines: readonly string[]): Promise<void> {
    try {
      await this.#file.appendFile(lines.join(''));
    } catch (error) {
      throw ioError('write', this.#path, error);
    }
  }
}
