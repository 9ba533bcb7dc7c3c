/** Finds stop strings in streamed text: text that may be the beginning of one is held back until it is certain. */
export class StopStrings {
  readonly #stops: readonly string[];
  #held = '';
  /** True once a stop string was found; nothing is emitted after it. */
  found = false;

  constructor(stops: readonly string[] = []) {
    this.#stops = stops.filter((stop) => stop.length > 0);
  }

  /** Text that is certain not to belong to a stop string. */
  push(text: string): string {
    if (this.found) return '';
    if (this.#stops.length === 0) return text;
    const all = this.#held + text;
    const at = Math.min(...this.#stops.map((stop) => indexOr(all, stop, Number.POSITIVE_INFINITY)));
    if (at !== Number.POSITIVE_INFINITY) {
      this.found = true;
      this.#held = '';
      return all.slice(0, at);
    }
    const keep = Math.max(...this.#stops.map((stop) => openEnd(all, stop)));
    this.#held = all.slice(all.length - keep);
    return all.slice(0, all.length - keep);
  }

  /** The held-back rest, when the text ends without a stop string. */
  end(): string {
    const rest = this.#held;
    this.#held = '';
    return rest;
  }
}

function indexOr(text: string, part: string, missing: number): number {
  const at = text.indexOf(part);
  return at < 0 ? missing : at;
}

/** Length of the longest end of `text` that begins `stop`. */
function openEnd(text: string, stop: string): number {
  for (let n = Math.min(stop.length - 1, text.length); n > 0; n--) {
    if (text.endsWith(stop.slice(0, n))) return n;
  }
  return 0;
}
