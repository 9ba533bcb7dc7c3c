/** A small seeded generator (PCG-XSH-RR 64/32, O'Neill 2014): the same seed gives the same numbers on every machine. */
export class Random {
  #state: bigint;
  static readonly #multiplier = 6364136223846793005n;
  static readonly #increment = 1442695040888963407n;

  /** @param seed any integer; its low 64 bits count. */
  constructor(seed: number | bigint) {
    this.#state = BigInt.asUintN(64, BigInt(seed) + Random.#increment);
    this.uint32();
  }

  /** Uniform over 0 … 2³² - 1. */
  uint32(): number {
    const old = this.#state;
    this.#state = BigInt.asUintN(64, old * Random.#multiplier + Random.#increment);
    const shifted = Number(BigInt.asUintN(32, ((old >> 18n) ^ old) >> 27n));
    const rotation = Number(old >> 59n);
    return ((shifted >>> rotation) | (shifted << (-rotation & 31))) >>> 0;
  }

  /** Uniform over [0, 1), 53 bits. */
  uniform(): number {
    const high = this.uint32() >>> 5;
    const low = this.uint32() >>> 6;
    return (high * 67108864 + low) / 9007199254740992;
  }

  /** Uniform over 0 … n - 1. */
  below(n: number): number {
    return Math.floor(this.uniform() * n);
  }
}
