/**
 * Where each token lies in the text it came from.
 *
 * The upstream library gives ids only. The bytes of the tokens, joined, are the text as the tokenizer saw it: exactly the
 * text for most tokenizers, so that offsets are running sums; otherwise the text after its normalizer (Unicode NFC, a space
 * put in front, unknown characters dropped), which is aligned with the original by walking both and skipping to the nearest
 * place where they agree again.
 */

/** Longest stretch, in bytes of both sides together, within which two texts must agree again. */
const RESYNC_LIMIT = 64;
/** Bytes that must agree for two places to count as the same place. */
const RESYNC_MATCH = 4;

/**
 * @param pieces the bytes of each token
 * @param text the UTF-8 bytes of the original text
 * @returns (T + 1) byte where each token starts, never falling; the first is 0 and the last the text's length
 */
export function byteOffsetsOf(pieces: readonly Uint8Array[], text: Uint8Array): Int32Array {
  const starts = new Int32Array(pieces.length + 1);
  for (let i = 0; i < pieces.length; i++) starts[i + 1] = starts[i]! + pieces[i]!.length;
  const seen = new Uint8Array(starts[pieces.length]!);
  for (let i = 0; i < pieces.length; i++) seen.set(pieces[i]!, starts[i]!);
  if (Buffer.compare(seen, text) !== 0) {
    const map = align(seen, text);
    for (let i = 0; i < starts.length; i++) starts[i] = map[starts[i]!]!;
  }
  // Whatever a normalizer dropped at the ends belongs to the first and the last token.
  if (pieces.length > 0) starts[0] = 0;
  starts[pieces.length] = text.length;
  return starts;
}

/** @returns (seen.length + 1) for each byte the tokenizer saw, the byte of the text it came from */
function align(seen: Uint8Array, text: Uint8Array): Int32Array {
  const map = new Int32Array(seen.length + 1);
  let i = 0;
  let j = 0;
  while (i < seen.length && j < text.length) {
    if (seen[i] === text[j]) {
      map[i++] = j++;
      continue;
    }
    const [dropped, skipped] = nextAgreement(seen, i, text, j);
    map.fill(j, i, i + dropped);
    i += dropped;
    j += skipped;
  }
  map.fill(j, i);
  map[seen.length] = text.length;
  return map;
}

/** Fewest bytes to pass over on each side until both agree; one on each side when they do not within the limit. */
function nextAgreement(
  seen: Uint8Array,
  i: number,
  text: Uint8Array,
  j: number,
): [dropped: number, skipped: number] {
  for (let total = 1; total <= RESYNC_LIMIT; total++) {
    for (let dropped = total; dropped >= 0; dropped--) {
      const skipped = total - dropped;
      if (i + dropped > seen.length || j + skipped > text.length) continue;
      if (agree(seen, i + dropped, text, j + skipped)) return [dropped, skipped];
    }
  }
  return [1, 1];
}

function agree(seen: Uint8Array, i: number, text: Uint8Array, j: number): boolean {
  for (let n = 0; n < RESYNC_MATCH; n++, i++, j++) {
    if (i === seen.length || j === text.length) return i === seen.length && j === text.length;
    if (seen[i] !== text[j]) return false;
  }
  return true;
}

/** @returns (T + 1) UTF-16 code unit of the character that each byte offset lies in */
export function charOffsetsOf(byteOffsets: Int32Array, text: string): Int32Array {
  const out = new Int32Array(byteOffsets.length);
  let char = 0;
  let byte = 0;
  for (let i = 0; i < byteOffsets.length; i++) {
    while (char < text.length) {
      const code = text.codePointAt(char)!;
      const bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
      if (byte + bytes > byteOffsets[i]!) break;
      byte += bytes;
      char += code < 0x10000 ? 1 : 2;
    }
    out[i] = char;
  }
  return out;
}

/** (T) the part of a text that each of its tokens stands for; joined they are the text. Tokens inside a character: its last has it. */
export function piecesOf(
  text: string,
  ids: ArrayLike<number>,
  tokenizer: { tokenBytes(id: number): Uint8Array },
): string[] {
  const bytes = Array.from(ids, (id) => tokenizer.tokenBytes(id));
  const starts = charOffsetsOf(byteOffsetsOf(bytes, Buffer.from(text, 'utf8')), text);
  return bytes.map((_, i) => text.slice(starts[i]!, starts[i + 1]!));
}
