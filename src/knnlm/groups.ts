/**
 * Numbers for the tokens that are voted for, in the order in which they are first seen. A query has some hundreds, and a `Map` emptied and filled
 * again for every one would allocate its table anew each time; here one table serves all.
 */

/** Slots to begin with; a power of two. */
const FIRST_SLOTS = 1024;

export class Groups {
  #tokens = new Uint32Array(FIRST_SLOTS);
  #numbers = new Uint32Array(FIRST_SLOTS);
  /** Slots that hold this round's mark are taken. */
  #marks = new Uint32Array(FIRST_SLOTS);
  #mark = 1;
  /** 32 less the bits of a slot's number. */
  #shift = 32 - Math.log2(FIRST_SLOTS);
  #size = 0;

  /** How many there are. */
  get size(): number {
    return this.#size;
  }

  clear(): void {
    this.#size = 0;
    if (++this.#mark < 2 ** 32) return;
    this.#marks.fill(0);
    this.#mark = 1;
  }

  of(token: number): number {
    const slot = this.#slotOf(token);
    if (this.#marks[slot] === this.#mark) return this.#numbers[slot]!;
    const number = this.#size++;
    this.#tokens[slot] = token;
    this.#numbers[slot] = number;
    this.#marks[slot] = this.#mark;
    // Half of the slots stay free, so that the way to one is short.
    if (2 * this.#size > this.#marks.length) this.#grow();
    return number;
  }

  /** -1 when nothing voted for it. */
  find(token: number): number {
    const slot = this.#slotOf(token);
    return this.#marks[slot] === this.#mark ? this.#numbers[slot]! : -1;
  }

  /**
   * The groups of several tokens.
   * @param room what they are written to, if it is large enough @returns it, or another that is
   */
  ofAll(
    tokens: ArrayLike<number>,
    count: number,
    room: Uint16Array<ArrayBuffer>,
  ): Uint16Array<ArrayBuffer> {
    const groups = room.length >= count ? room : new Uint16Array(2 * count);
    for (let i = 0; i < count; i++) groups[i] = this.of(tokens[i]!);
    return groups;
  }

  /** Where a token is, or would be. */
  #slotOf(token: number): number {
    const last = this.#marks.length - 1;
    // Multiplication by 2³² over the golden ratio spreads what lies close together (Knuth, TAOCP 3, section 6.4).
    let slot = Math.imul(token, 0x9e3779b1) >>> this.#shift;
    while (this.#marks[slot] === this.#mark && this.#tokens[slot] !== token)
      slot = (slot + 1) & last;
    return slot;
  }

  #grow(): void {
    const before = { tokens: this.#tokens, numbers: this.#numbers, marks: this.#marks };
    const mark = this.#mark;
    const slots = 2 * before.marks.length;
    this.#shift--;
    this.#tokens = new Uint32Array(slots);
    this.#numbers = new Uint32Array(slots);
    this.#marks = new Uint32Array(slots);
    for (let i = 0; i < before.marks.length; i++) {
      if (before.marks[i] !== mark) continue;
      const slot = this.#slotOf(before.tokens[i]!);
      this.#tokens[slot] = before.tokens[i]!;
      this.#numbers[slot] = before.numbers[i]!;
      this.#marks[slot] = mark;
    }
  }
}
