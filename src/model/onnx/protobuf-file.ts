/**
 * Protobuf fields of a file of any size, by positional reads through one small window.
 *
 * Payloads are skipped, not read: a model of gigabytes costs as many bytes of reading as its structure has (3.7 MB of
 * a 652 MB GPT-2). A schema-driven parser would need the whole file in one buffer, and Node 20 cannot read one above 2 GiB.
 * Every length is checked against the message around it before it is used, so a broken file cannot ask for memory.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { ioError, KnnLMError } from '../../errors.ts';

const WINDOW_BYTES = 1 << 16;
/** Names in real models stay below 300 bytes; anything near this is garbage read as a length. */
const MAX_STRING_BYTES = 1 << 16;
/** Largest single read(2) asked for; Linux itself stops at 2 GiB. */
const MAX_READ_BYTES = 1 << 28;

export interface Field {
  /** Field number in its message. */
  number: number;
  /** 0 varint, 1 eight bytes, 2 length-delimited, 5 four bytes. */
  wire: number;
  /** First byte of the field, its tag. */
  from: number;
  /** First byte of the payload. */
  start: number;
  /** First byte after the field. */
  end: number;
  /** The number itself when `wire` is 0, as a signed 64-bit integer (rounded above 2^53). */
  value: number;
}

export class ProtobufFile {
  readonly path: string;
  /** Bytes in the file. */
  readonly size: number;
  readonly #fd: number;
  readonly #window = Buffer.allocUnsafe(WINDOW_BYTES);
  #windowStart = 0;
  #windowEnd = 0;
  #cursor = 0;

  constructor(path: string) {
    this.path = path;
    try {
      this.#fd = openSync(path, 'r');
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw ioError('read', path, cause);
      throw new KnnLMError('MODEL_NOT_FOUND', `There is no model graph at ${path}.`, { cause });
    }
    try {
      const stat = fstatSync(this.#fd);
      if (!stat.isFile()) {
        throw new KnnLMError('MODEL_INVALID', `${path} is not a file. Name an .onnx file.`);
      }
      this.size = stat.size;
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** The error for a file that cannot be what it claims to be. */
  invalid(what: string): KnnLMError {
    // A damaged name may hold anything; a message is one line.
    const line = what.replace(/\p{Cc}/gu, '\uFFFD');
    return new KnnLMError(
      'MODEL_INVALID',
      `${this.path} is not a valid ONNX model: ${line}. Download or export it again.`,
    );
  }

  /** The fields of the message in bytes [start, end). */
  *fields(start: number, end: number): Generator<Field, void, undefined> {
    let at = start;
    while (at < end) {
      const tag = this.#varint(at, end);
      const wire = tag & 7;
      const number = Math.floor(tag / 8);
      if (number < 1 || number > 0x1fffffff) throw this.#broken('a field number', at);
      const field: Field = { number, wire, from: at, start: this.#cursor, end: 0, value: 0 };
      if (wire === 0) {
        field.value = this.#varint(field.start, end);
        field.end = this.#cursor;
      } else if (wire === 2) {
        const length = this.#varint(field.start, end);
        field.start = this.#cursor;
        field.end = field.start + length;
        if (length < 0) throw this.#broken('a length', at);
      } else if (wire === 1) field.end = field.start + 8;
      else if (wire === 5) field.end = field.start + 4;
      else throw this.#broken('a field', at);
      if (field.end > end) {
        throw this.invalid(
          end === this.size
            ? `it ends at byte ${this.size} where byte ${field.end} was promised (cut short?)`
            : `the field at byte ${at} is longer than the message around it`,
        );
      }
      at = field.end;
      yield field;
    }
  }

  /** The field's payload as a message. */
  message(field: Field): Generator<Field, void, undefined> {
    if (field.wire !== 2) throw this.#broken('a message', field.from);
    return this.fields(field.start, field.end);
  }

  string(field: Field): string {
    if (field.wire !== 2) throw this.#broken('a string', field.from);
    const length = field.end - field.start;
    if (length > MAX_STRING_BYTES) throw this.#broken('a name', field.from);
    this.#need(field.start, length);
    const at = field.start - this.#windowStart;
    return this.#window.toString('utf8', at, at + length);
  }

  /** The numbers of a repeated integer field: one value, or a packed run of them. */
  integers(field: Field, into: number[], most = 1 << 16): void {
    if (field.wire === 0) into.push(field.value);
    else if (field.wire === 2) {
      for (let at = field.start; at < field.end; at = this.#cursor) {
        into.push(this.#varint(at, field.end));
        if (into.length > most) throw this.#broken('a list of integers', field.from);
      }
    } else throw this.#broken('an integer', field.from);
  }

  /** Up to 64 KiB of bytes, copied. */
  bytes(start: number, length: number): Buffer {
    this.#need(start, length);
    const at = start - this.#windowStart;
    return Buffer.from(this.#window.subarray(at, at + length));
  }

  /** Copies bytes [start, end) of the file to `out` at `offset`. */
  copy(start: number, end: number, out: Uint8Array, offset: number): void {
    for (let at = start; at < end; ) {
      const read = this.#read(out, offset + at - start, Math.min(end - at, MAX_READ_BYTES), at);
      if (read === 0) throw this.invalid(`it shrank to ${at} bytes while being read`);
      at += read;
    }
  }

  #varint(start: number, end: number): number {
    let low = 0;
    let high = 0;
    for (let i = 0; i < 10; i++) {
      const at = start + i;
      if (at >= end) throw this.#broken('a number', start);
      if (at < this.#windowStart || at >= this.#windowEnd) this.#need(at, 1);
      const byte = this.#window[at - this.#windowStart]!;
      const bits = byte & 127;
      if (i < 4) low |= bits << (7 * i);
      else if (i === 4) {
        low |= bits << 28;
        high |= bits >>> 4;
      } else high |= bits << (7 * i - 32);
      if (byte < 128) {
        this.#cursor = at + 1;
        return high * 2 ** 32 + (low >>> 0);
      }
    }
    throw this.#broken('a number', start);
  }

  /** Makes bytes [start, start + length) part of the window. */
  #need(start: number, length: number): void {
    if (start >= this.#windowStart && start + length <= this.#windowEnd) return;
    this.#windowStart = this.#windowEnd = start;
    const want = Math.min(WINDOW_BYTES, this.size - start);
    while (this.#windowEnd - start < want) {
      const filled = this.#windowEnd - start;
      const read = this.#read(this.#window, filled, want - filled, start + filled);
      if (read === 0) break;
      this.#windowEnd += read;
    }
    if (this.#windowEnd - start < length) {
      throw this.invalid(
        `it ends at byte ${this.#windowEnd} in the middle of a field (cut short?)`,
      );
    }
  }

  #read(out: Uint8Array, offset: number, length: number, position: number): number {
    try {
      return readSync(this.#fd, out, offset, length, position);
    } catch (cause) {
      throw ioError('read', this.path, cause);
    }
  }

  #broken(what: string, at: number): KnnLMError {
    return this.invalid(`${what} at byte ${at} is malformed`);
  }
}
