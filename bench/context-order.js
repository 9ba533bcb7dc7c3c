/**
 * The entries of a store in the order of the tokens before them, the nearest token first: entries whose contexts end in the same words
 * lie side by side (Manber & Myers 1993, "Suffix arrays: a new method for on-line string searches", with prefixes doubled up to 32 tokens).
 */

const LONGEST = 32;

export class ContextOrder {
  #values;
  #order;

  /** @param values (n) the token of each entry */
  constructor(values) {
    this.#values = values;
    this.#order = sorted(values);
  }

  /**
   * Entries that come after the longest endings of a context; of an ending with more than there is room for, an even sample.
   * @param context token ids, the nearest last
   * @returns their ids, and after how many tokens of the context each comes; the longest first
   */
  find(context, most) {
    const ranges = this.#narrow(context);
    const ids = [];
    const lengths = [];
    let inner = [0, 0];
    for (let length = ranges.length; length > 0 && ids.length < most; length--) {
      const [from, to] = ranges[length - 1];
      const [a, b] = inner[0] < inner[1] ? inner : [from, from];
      const count = to - from - (b - a);
      const taken = Math.min(count, most - ids.length);
      for (let i = 0; i < taken; i++) {
        const place = from + Math.floor((i * count) / taken);
        ids.push(this.#order[place < a ? place : place + b - a]);
        lengths.push(length);
      }
      inner = [from, to];
    }
    return { ids, lengths };
  }

  /** Places of the entries after the last token, the last two, … */
  #narrow(context) {
    const ranges = [];
    let [low, high] = [0, this.#order.length];
    for (let length = 1; length < LONGEST && length <= context.length; length++) {
      const token = context[context.length - length];
      low = this.#firstAbove(token - 1, length, [low, high]);
      high = this.#firstAbove(token, length, [low, high]);
      if (low === high) break;
      ranges.push([low, high]);
    }
    return ranges;
  }

  #firstAbove(token, back, [low, high]) {
    while (low < high) {
      const middle = (low + high) >> 1;
      const entry = this.#order[middle];
      if ((entry >= back ? this.#values[entry - back] : -1) <= token) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function sorted(values) {
  const n = values.length;
  let order = new Uint32Array(n);
  let next = new Uint32Array(n);
  /** Place of the first entry with the same tokens before it, as far as they are told apart. */
  let ranks = new Uint32Array(n);
  let other = new Uint32Array(n);
  const starts = new Uint32Array(values.reduce((most, token) => Math.max(most, token), 0) + 3);
  const tokenBefore = (entry) => (entry === 0 ? 0 : values[entry - 1] + 1);
  for (let entry = 0; entry < n; entry++) starts[tokenBefore(entry) + 1]++;
  for (let token = 1; token < starts.length; token++) starts[token] += starts[token - 1];
  for (let entry = 0; entry < n; entry++) ranks[entry] = starts[tokenBefore(entry)];
  for (let entry = 0; entry < n; entry++) order[starts[tokenBefore(entry)]++] = entry;
  for (let known = 1; known < LONGEST; known *= 2) {
    // Entries in order of the tokens further back fall into their groups in that order. Those with fewer tokens before them are groups of one.
    const filled = other.fill(0);
    for (let entry = 0; entry < Math.min(known, n); entry++) next[ranks[entry]] = entry;
    for (const earlier of order) {
      const entry = earlier + known;
      if (entry < n) next[ranks[entry] + filled[ranks[entry]]++] = entry;
    }
    [order, next] = [next, order];
    const same = (a, b) => ranks[a] === ranks[b] && ranks[a - known] === ranks[b - known];
    for (let place = 0; place < n; place++) {
      const entry = order[place];
      other[entry] = place > 0 && same(entry, order[place - 1]) ? other[order[place - 1]] : place;
    }
    [ranks, other] = [other, ranks];
  }
  return order;
}
