import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Footnotes, superscript } from '../../dist/cli/footnotes.js';
import { legend, memoryBits, paintFor } from '../../dist/cli/palette.js';
import { Screen } from '../../dist/cli/screen.js';
import { GenerationPrinter } from '../../dist/cli/views/generation.js';
import { WordWrapper } from '../../dist/cli/word-wrapper.js';
import type { GeneratedToken } from '../../dist/knnlm/generation-types.js';
import type { Neighbor } from '../../dist/knnlm/types.js';

const plain = new Screen({ color: false }).colors;

/** Token id 1 with the given entries voting for it; one document holds ten entries. */
function token(text: string, p: number, pLm: number, entries: number[] = []): GeneratedToken {
  return { id: 1, text, p, pLm, pKnn: p, neighbors: entries.map((entry) => vote(entry, text)) };
}

function vote(entry: number, target: string): Neighbor {
  const document = `doc ${Math.floor(entry / 10)}`;
  const rest = { position: entry % 10, distance: 1, weight: 0.1, targetId: 1 };
  return { entry, document, target, before: 'before', after: ' after', ...rest };
}

function printed(
  tokens: GeneratedToken[],
  options: Partial<ConstructorParameters<typeof GenerationPrinter>[0]> = {},
) {
  let text = '';
  const printer = new GenerationPrinter({
    write: (part) => {
      text += part;
    },
    colors: plain,
    depth: 1,
    columns: 60,
    sources: true,
    ...options,
  });
  for (const each of tokens) printer.token(each);
  const settings = { k: 8, lambda: 0.5, temperature: 1 };
  printer.end({ text: '', tokens, finishReason: 'length', searched: 1, settings }, 1.5);
  return text;
}

describe('footnotes', () => {
  it('name the document that voted for a token whose probability the memory doubled', () => {
    const notes = new Footnotes();
    expect(notes.add(token(' a', 0.5, 0.4, [3]))).toBeUndefined();
    expect(notes.add(token(' b', 0.5, 0.2, [3]))?.document).toBe('doc 0');
    expect(notes.add(token(' c', 0.5, 0.2, []))).toBeUndefined();
  });

  it('share one number per document and keep the longest passage that was followed', () => {
    const notes = new Footnotes();
    notes.add(token(' one', 0.9, 0.1, [17]));
    notes.add(token(' x', 0.9, 0.1, [25]));
    notes.add(token(' two', 0.9, 0.1, [12]));
    notes.add(token(' three', 0.9, 0.8, [26, 13]));
    expect(notes.list).toMatchObject([
      {
        number: 1,
        document: 'doc 1',
        tokens: 3,
        passage: { position: 2, target: ' two three', length: 2 },
      },
      {
        number: 2,
        document: 'doc 2',
        tokens: 1,
        passage: { position: 5, target: ' x', length: 1 },
      },
    ]);
  });

  it('prefer the document whose votes weigh most together', () => {
    expect(new Footnotes().add(token(' a', 0.9, 0.1, [3, 11, 14]))?.document).toBe('doc 1');
  });

  it('tell documents of the same id in two stores apart', () => {
    const notes = new Footnotes();
    for (const store of ['a', 'b']) {
      const neighbors = [{ ...vote(3, ' x'), store }];
      notes.add({ ...token(' x', 0.9, 0.1), neighbors });
    }
    expect(notes.list).toMatchObject([
      { number: 1, store: 'a', document: 'doc 0' },
      { number: 2, store: 'b', document: 'doc 0' },
    ]);
  });

  it('ignore neighbors that voted for another token', () => {
    const other = { ...vote(3, ' a'), targetId: 2 };
    expect(new Footnotes().add({ ...token(' a', 0.9, 0.1), neighbors: [other] })).toBeUndefined();
  });

  it('are written in raised digits', () => expect(superscript(120)).toBe('¹²⁰'));
});

describe('the palette', () => {
  it('leaves a token alone that the memory hardly moved', () => {
    expect(paintFor(0.2, 24)('a')).toBe('a');
    expect(paintFor(-0.2, 24)('a')).toBe('a');
  });

  it('uses as many colors as the terminal has, and none on none', () => {
    expect(paintFor(3, 24)('a')).toBe('\x1b[38;2;226;114;22ma\x1b[0m');
    expect(paintFor(3, 8)('a')).toBe('\x1b[38;5;166ma\x1b[0m');
    expect(paintFor(3, 4)('a')).toBe('\x1b[1;33ma\x1b[0m');
    expect(paintFor(3, 1)('a')).toBe('a');
    expect(legend(1)).toBe('');
  });

  it('measures in bits, infinite where the model gave nothing', () => {
    expect(memoryBits({ p: 0.5, pLm: 0.125 })).toBe(2);
    expect(memoryBits({ p: 0.5, pLm: 0 })).toBe(Number.POSITIVE_INFINITY);
    expect(paintFor(Number.POSITIVE_INFINITY, 8)('a')).toContain('38;5;160');
  });
});

describe('WordWrapper', () => {
  const wrapped = (pieces: string[], columns: number) => {
    let text = '';
    const wrapper = new WordWrapper({
      columns,
      margin: '  ',
      write: (part) => void (text += part),
    });
    for (const piece of pieces) wrapper.push(piece);
    wrapper.end();
    return text;
  };

  it('breaks lines between words, never inside a word that came in pieces', () => {
    expect(wrapped(['one tw', 'o thr', 'ee', ' four\nfive'], 9)).toBe(
      '  one two\n  three\n  four\n  five\n',
    );
  });

  it('keeps every character but the spaces at which it breaks, and passes no line', () => {
    const words = fc.array(fc.stringMatching(/^[a-z \n]{0,12}$/));
    fc.assert(
      fc.property(words, fc.integer({ min: 12, max: 60 }), (pieces, columns) => {
        const text = wrapped(pieces, columns);
        expect(text.replace(/\s/g, '')).toBe(pieces.join('').replace(/\s/g, ''));
        const longest = Math.max(
          ...pieces
            .join('')
            .split(/\s/)
            .map((word) => word.length),
        );
        for (const line of text.split('\n'))
          expect(line.length - 2).toBeLessThanOrEqual(Math.max(columns, longest));
      }),
    );
  });
});

describe('a generation on a terminal', () => {
  const tokens = [
    token('The', 0.2, 0.2),
    token(' dose', 0.8, 0.1, [4]),
    token(' is', 0.8, 0.7, [5]),
    token('n', 0.3, 0.3),
    token("'t", 0.3, 0.3),
    token(' high', 0.3, 0.3),
  ];

  it('marks the end of a span behind the word and lists the sources', () => {
    expect(printed(tokens)).toBe(
      "  The dose isn't¹ high…\n\n" +
        '  ¹ doc 0 at 4 · 2 tokens\n    before [dose is] after…\n\n' +
        '  6 tokens: 2 more probable through the memory, 1 at least twice · k 8, λ 0.5, T 1 · 1.5 s\n',
    );
  });

  it('is the text alone, unwrapped, where no sources are wanted', () => {
    const columns = Number.POSITIVE_INFINITY;
    expect(printed(tokens, { sources: false, columns })).toBe("The dose isn't high\n");
  });

  it('colors tokens and shows what the colors mean', () => {
    const colors = new Screen({ environment: { FORCE_COLOR: '2' } }).colors;
    const text = printed(tokens, { colors, depth: 8 });
    expect(text).toContain('\x1b[38;5;166m');
    expect(text).toContain('more probable through the memory ·');
    expect(text).not.toContain('[dose');
  });

  it('shows no control character of a document or of the text', () => {
    const evil = token(' \x1b[2J', 0.8, 0.1, [4]);
    evil.neighbors[0]!.document = 'doc\x1b]0;x\x07';
    evil.neighbors[0]!.before = '\x9b31m';
    expect(printed([evil])).not.toMatch(/[^\n\P{Cc}]/u);
  });
});
