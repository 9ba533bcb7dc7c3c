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

export interface DecodeOptions {
  /**
   * True when other tokens come before these. Tokenizers of the SentencePiece kind put a space before the first word of a
   * text and drop it when decoding; a continuation must keep it. Default false: the tokens begin the text.
   */
  continuing?: boolean;
}

/** Decoding of a growing sequence: partial characters are held back until complete. The pieces joined equal `decode`. */
export interface TokenStream {
  /** Text that became certain with this token; may be empty. */
  push(id: number): string;
  /** What is left, incomplete bytes as U+FFFD. */
  end(): string;
}

/** How a tokenizer's tokens spell text. `general` covers the rest (WordPiece, `</w>` BPE), decoded by the upstream library. */
export type TokenizerKind = 'byte-level' | 'sentencepiece' | 'general';

export interface Tokenizer {
  readonly kind: TokenizerKind;
  /** Number of ids, added tokens included. */
  readonly size: number;
  readonly bos: number;
  readonly eos: number;
  /**
   * Token ids without any special token added. Special-token text inside documents is read as plain text.
   * Runs on the calling thread, some 1.5 MB of text a second: for documents use `LanguageModel.encodeDocuments`.
   */
  encode(text: string): Int32Array;
  encodeWithOffsets(text: string): Encoding;
  /** Text of a sequence; special tokens (BOS, EOS) are left out. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /** The bytes one token stands for; empty for special tokens. */
  tokenBytes(id: number): Uint8Array;
  /** One token for display: its text, `<0xE6>` for partial UTF-8, the name for special tokens. */
  tokenText(id: number): string;
  stream(options?: DecodeOptions): TokenStream;
}
