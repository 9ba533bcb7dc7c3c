/** Encodes the few protobuf fields a patch adds. Field order and repetition are the caller's. */

/** Negative numbers as protobuf's int64: two's complement, ten bytes. */
export function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  if (value < 0) {
    for (let rest = BigInt.asUintN(64, BigInt(value)); rest > 0n; rest >>= 7n)
      bytes.push(Number(rest & 127n) | (rest > 127n ? 128 : 0));
    return Uint8Array.from(bytes);
  }
  let rest = value;
  do {
    const low = rest % 128;
    rest = Math.floor(rest / 128);
    bytes.push(rest > 0 ? low | 128 : low);
  } while (rest > 0);
  return Uint8Array.from(bytes);
}

export const integerField = (number: number, value: number): Uint8Array =>
  Buffer.concat([varint(number * 8), varint(value)]);

export const stringField = (number: number, text: string): Uint8Array =>
  messageField(number, Buffer.from(text));

/** A length-delimited field: a nested message, given as its encoded parts. */
export function messageField(number: number, ...parts: Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([messageHead(number, length), ...parts]);
}

/** Tag and length of a length-delimited field whose payload is written elsewhere. */
export const messageHead = (number: number, length: number): Uint8Array =>
  Buffer.concat([varint(number * 8 + 2), varint(length)]);
