/** HTML to readable text: `<main>` where a page has one, else the body, without navigation, scripts and forms. */
import type { FormatCallback, HtmlToTextOptions, SelectorDefinition } from 'html-to-text';
import { KnnLMError } from '../../errors.ts';

const NOISE = [
  'script',
  'style',
  'noscript',
  'template',
  'svg',
  'nav',
  'footer',
  'aside',
  'form',
  'button',
  'iframe',
  'img',
  '[role=navigation]',
  '[hidden]',
  '[aria-hidden=true]',
];

const selectors: SelectorDefinition[] = [
  ...NOISE.map((selector) => ({ selector, format: 'skip' })),
  { selector: 'a', options: { ignoreHref: true } },
  ...['h1', 'h2', 'h3', 'h4', 'h5', 'h6'].map((selector) => ({
    selector,
    options: { uppercase: false },
  })),
  { selector: 'header', format: 'header' },
  // A row a line, its cells apart by a blank.
  {
    selector: 'tr',
    format: 'block',
    options: { leadingLineBreaks: 1, trailingLineBreaks: 1 },
  },
  ...['td', 'th'].map((selector) => ({
    selector,
    format: 'inlineSurround',
    options: { suffix: ' ' },
  })),
];

/** A page's header is noise, an article's own holds its title. */
const header: FormatCallback = (element, walk, builder) => {
  for (let parent = element.parent; parent; parent = parent.parent) {
    if (!['article', 'main', 'section'].includes(parent.name ?? '')) continue;
    builder.openBlock({ leadingLineBreaks: 2 });
    walk(element.children, builder);
    builder.closeBlock({ trailingLineBreaks: 2 });
    return;
  }
};

const options: HtmlToTextOptions = {
  formatters: { header },
  wordwrap: false,
  // Without it pages are cut at 16 MiB; a document's own limit is checked before.
  limits: { maxInputLength: Number.MAX_SAFE_INTEGER },
  selectors,
};

let compiled: Promise<(html: string) => string> | undefined;

/** Errors: `INVALID_DOCUMENT` for a page nested beyond what can be walked. */
export async function htmlText(html: string, source: string): Promise<string> {
  compiled ??= compile();
  const convert = await compiled;
  try {
    return convert(html);
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new KnnLMError(
      'INVALID_DOCUMENT',
      `${source} is nested too deeply to be read as HTML. Convert it to text, or leave it out.`,
      { cause },
    );
  }
}

async function compile(): Promise<(html: string) => string> {
  const { compile } = await import('html-to-text');
  const main = compile({
    ...options,
    baseElements: { selectors: ['main', '[role=main]'], returnDomByDefault: false },
  });
  const body = compile({ ...options, baseElements: { selectors: ['body'] } });
  // A row's last cell leaves a blank at the line's end.
  const tidy = (text: string): string => text.replace(/[ \t]+$/gm, '').trim();
  return (html) => tidy(main(html)) || tidy(body(html));
}
