/**
 * How does the inspector look? Every view, light and dark, on a desk and on a phone, as the pictures of docs/inspector.md.
 *
 *     knnlm build demo/pharmacology.jsonl --out STORE && knnlm tune STORE demo/held-out.jsonl
 *     node bench/web/screenshots.js STORE [OUT]
 *
 * OUT is docs/images/inspector where it is not given. Prints what each picture is and its bytes.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ask, linkTo, openInspector } from './page.js';

const store = process.argv[2];
if (!store) throw new Error('usage: node bench/web/screenshots.js STORE [OUT]');
const out =
  process.argv[3] ?? fileURLToPath(new URL('../../docs/images/inspector', import.meta.url));

const PROMPT = 'Angina is chest pain caused by';
const LOOKS = [1440, 390].flatMap((width) => [false, true].map((dark) => ({ width, dark })));
const HEIGHTS = { 1440: 900, 390: 844 };
/** Of WebP: text stays sharp at a third of the bytes of PNG. */
const QUALITY = 80;

const heldOut = readFileSync(new URL('../../demo/held-out.jsonl', import.meta.url), 'utf8');
const scored = JSON.parse(heldOut.split('\n')[0]).text.slice(0, 1500);
const inspector = await openInspector(store);
const { browser, url } = inspector;

mkdirSync(out, { recursive: true });
const views = await viewsOf();
let total = 0;
for (const look of LOOKS) await takeAll(look);
await inspector.close();
console.log(JSON.stringify({ pictures: LOOKS.length * Object.keys(views).length, bytes: total }));

/** @returns by name: its fragment, what shows that it is there, whether all of it is taken */
async function viewsOf() {
  const body = { prompt: PROMPT, max_tokens: 24, temperature: 0, repetition_penalty: 1.1 };
  const knn = { include_neighbors: 1 };
  const { choices } = await ask(url, '/v1/completions', { ...body, echo: true, knn });
  const tokens = choices[0].knn.tokens.filter(({ end }) => !end);
  const first = tokens.findIndex(({ prompt }) => !prompt);
  const [{ document, position }] = tokens[first].neighbors;
  const text = encodeURIComponent(scored);
  return {
    write: { fragment: linkTo(tokens, { alone: 1 }), ready: '.alone-text' },
    token: { fragment: linkTo(tokens, { at: first }), ready: '.neighbor .passage' },
    score: { fragment: `#/score?text=${text}`, ready: 'dl.figures' },
    documents: { fragment: '#/documents', ready: '.document .title' },
    document: {
      fragment: `#/documents?${new URLSearchParams({ document, position })}`,
      ready: '.prose mark',
    },
    store: {
      fragment: '#/store?context=Angina+is+chest+pain',
      ready: '.map-legend .query',
      isWhole: true,
    },
  };
}

async function takeAll({ width, dark }) {
  const context = await browser.newContext({
    viewport: { width, height: HEIGHTS[width] },
    colorScheme: dark ? 'dark' : 'light',
    reducedMotion: 'reduce',
  });
  const page = await context.newPage();
  // A busy machine may take long; the pictures are the same.
  page.setDefaultTimeout(180_000);
  const cdp = await context.newCDPSession(page);
  for (const [name, view] of Object.entries(views)) {
    await page.goto('about:blank');
    await page.goto(`${url}/${view.fragment}`);
    await page.locator(view.ready).first().waitFor();
    await page.waitForLoadState('networkidle');
    await page.waitForTimeout(500);
    const file = `${name}-${width}-${dark ? 'dark' : 'light'}.webp`;
    const bytes = await take(page, cdp, view.isWhole);
    writeFileSync(`${out}/${file}`, bytes);
    total += bytes.length;
    console.log(file, bytes.length);
  }
  await context.close();
}

/** @returns a picture of what is in sight, or of the whole page, as WebP */
async function take(page, cdp, isWhole = false) {
  const { width, height } = page.viewportSize();
  const all = await page.evaluate(() => document.documentElement.scrollHeight);
  const top = isWhole ? 0 : await page.evaluate(() => scrollY);
  const clip = { x: 0, y: top, width, height: isWhole ? all : height, scale: 1 };
  const options = { format: 'webp', quality: QUALITY, captureBeyondViewport: isWhole, clip };
  const { data } = await cdp.send('Page.captureScreenshot', options);
  return Buffer.from(data, 'base64');
}
