/**
 * Cutting a long text for encoding, where cutting cannot change the ids.
 *
 * The upstream library takes more than linear time for tokenizers without a pre-tokenizer (Llama 2: a whole document is one
 * "word") and overflows its stack on long ones. What a tokenizer does at a place depends on its near surroundings only, so
 * a cut is proposed between a word and the space after it, and taken when the surroundings encode alike whole and cut.
 */

/** UTF-16 code units per piece, about. */
const PIECE_LENGTH = 16_384;
/** Surroundings encoded on each side to prove a cut. */
const PROOF_LENGTH = 128;
/** Cuts tried per piece before the text is taken to offer none there. */
const MAX_TRIES = 8;

export interface SafePiecesOptions {
  encode: (text: string) => ArrayLike<number>;
  /** The tokenizer puts a space before any text, so a piece that starts with one must lose its own. */
  addsSpace: boolean;
  pieceLength?: number;
}

/** Pieces whose ids, joined, are those of the whole text. */
export function* safePieces(text: string, options: SafePiecesOptions): Iterable<string> {
  const pieceLength = options.pieceLength ?? PIECE_LENGTH;
  let start = 0;
  let from = pieceLength;
  while (from < text.length) {
    const cut = findCut(text, from, options);
    if (cut !== undefined && cut - start > 0) {
      yield text.slice(start, cut);
      start = options.addsSpace ? cut + 1 : cut;
    }
    from = (cut ?? from) + pieceLength;
  }
  yield start === 0 ? text : text.slice(start);
}

function findCut(text: string, from: number, options: SafePiecesOptions): number | undefined {
  const end = Math.min(text.length, from + PIECE_LENGTH);
  let tries = 0;
  for (let cut = from; cut < end && tries < MAX_TRIES; cut++) {
    if (!isCandidate(text, cut, options.addsSpace)) continue;
    if (isProven(text, cut, options)) return cut;
    tries++;
  }
  return undefined;
}

/** Between a letter and a single space; without added spaces also between a letter and punctuation (scripts without spaces). */
function isCandidate(text: string, cut: number, addsSpace: boolean): boolean {
  if (!/\p{L}/u.test(text[cut - 1]!)) return false;
  if (text[cut] === ' ') return /[^\s]/.test(text[cut + 1] ?? ' ');
  return !addsSpace && /[。、，．！？;:.,!?)]/.test(text[cut]!);
}

function isProven(text: string, cut: number, { encode, addsSpace }: SafePiecesOptions): boolean {
  // Proof text begins and ends at whole characters and, with an added space, as a text of its own.
  let start = Math.max(0, cut - PROOF_LENGTH);
  while (start > 0 && isLowSurrogate(text, start)) start--;
  let end = Math.min(text.length, cut + PROOF_LENGTH);
  while (end < text.length && isLowSurrogate(text, end)) end++;
  const whole = encode(text.slice(start, end));
  const left = encode(text.slice(start, cut));
  const right = encode(text.slice(addsSpace ? cut + 1 : cut, end));
  if (whole.length !== left.length + right.length) return false;
  for (let i = 0; i < whole.length; i++) {
    if (whole[i] !== (i < left.length ? left[i] : right[i - left.length])) return false;
  }
  return true;
}

function isLowSurrogate(text: string, index: number): boolean {
  return (text.charCodeAt(index) & 0xfc00) === 0xdc00;
}
