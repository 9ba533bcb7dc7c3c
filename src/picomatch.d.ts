/** What is used of picomatch, which ships no types. */
declare module 'picomatch' {
  export default function picomatch(
    patterns: readonly string[],
    options?: { dot?: boolean },
  ): (text: string) => boolean;
}
