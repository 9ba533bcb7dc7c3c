/** Text to token ids and back, with the offsets the upstream library does not give. */

/** Tokens of a text and where each lies in it. */
export interface Encoding {
  /** (T) */
  ids: Int32Array;
  /** (T + 1) UTF-16 code unit where each token starts; the last is the text's length. Tokens inside one character share its start. */
  charOffsets: Int32Array;
  /** (T + 1) UTF-8 byte where each token starts; the last is the text's length in bytes. */
  byteOffsets: Int32Array;
}

/** Decoding of a growing sequence: partial characters are held back until complete. */
export interface TokenStream {
  /** Text that became certain with this token; may be empty. */
  push(id: number): string;
  /** What is left, incomplete bytes as U+FFFD. */
  end(): string;
}

export interface Tokenizer {
  /** Number of ids, added tokens included. */
  readonly size: number;
  readonly bos: number;
  readonly eos: number;
  /** Token ids without any special token added. Special-token text inside documents is read as plain text. */
  encode(text: string): Int32Array;
  encodeWithOffsets(text: string): Encoding;
  /** Text of a sequence; special tokens (BOS, EOS) are left out. */
  decode(ids: ArrayLike<number>): string;
  /** The bytes one token stands for; empty for special tokens. */
  tokenBytes(id: number): Uint8Array;
  /** One token for display: its text, `<0xE6>` for partial UTF-8, the name for special tokens. */
  tokenText(id: number): string;
  stream(): TokenStream;
}
