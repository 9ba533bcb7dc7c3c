/**
 * Is the inspector quick? Its first view, a slider over 1,024 neighbors, a text of 300 tokens being scored.
 *
 *     node bench/web/inspector.js STORE TEXT.jsonl
 *
 * *First view*: from the start of the navigation, in a browser profile without cache, until the prompt can be typed and
 * begun: the server was asked what it serves and has answered. *Slider*: one move inside a frame's callback, as browsers
 * deliver them; from there until after that frame's layout and paint. *Scoring*: the times between frames while 300 tokens
 * arrive, and from an arrow key to the picture with the next token's mark. *cpu*: what of it the page's own thread computed, which
 * other work on the machine does not stretch. JSON on the last line, in milliseconds.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { median, percentile, round } from '../common.js';
import { ask, linkTo, openInspector } from './page.js';

const [store, file] = process.argv.slice(2);
if (!file) throw new Error('usage: node bench/web/inspector.js STORE TEXT.jsonl');
const { text } = JSON.parse(readFileSync(file, 'utf8').split('\n')[0]);

const OPENINGS = 15;
const MOVES = 150;
const PRESSES = 60;
const TOKENS = 300;
const spread = (values) => ({
  median: round(median(values), 1),
  p95: round(percentile(values, 0.95), 1),
  longest: round(Math.max(...values), 1),
  count: values.length,
});

const inspector = await openInspector(store);
const { browser, url } = inspector;
const results = { scripts: scriptBytes() };
results.firstView = spread(await openings());
results.slider = await sliders();
results.scoring = await scoring();
await inspector.close();
for (const [name, value] of Object.entries(results)) console.error(name, value);
console.log(JSON.stringify(results));

/** Bytes of all scripts, compressed one by one. */
function scriptBytes() {
  const folder = fileURLToPath(new URL('../../dist/web/assets/', import.meta.url));
  const names = readdirSync(folder).filter((name) => name.endsWith('.js'));
  return Object.fromEntries(
    names.map((name) => [
      name.replace(/-[^-]*$/, ''),
      gzipSync(readFileSync(folder + name)).length,
    ]),
  );
}

async function newPage() {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  return await context.newPage();
}

async function openings() {
  const times = [];
  for (let i = 0; i < OPENINGS; i++) {
    const page = await newPage();
    await page.addInitScript(() => {
      window.ready = new Promise((resolve) => {
        const look = () =>
          document.querySelector('.composer textarea') &&
          document.querySelector('.served')?.textContent
            ? resolve(performance.now())
            : requestAnimationFrame(look);
        look();
      });
    });
    await page.goto(url);
    times.push(await page.evaluate(() => window.ready));
    await page.context().close();
  }
  return times;
}

/** @returns what tells the milliseconds that the page's thread computed since, for each of some actions */
async function cpuOf(page) {
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Performance.enable', { timeDomain: 'threadTicks' });
  const now = async () => {
    const { metrics } = await cdp.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'TaskDuration').value * 1000;
  };
  const start = await now();
  return async (actions) => round(((await now()) - start) / actions, 1);
}

async function sliders() {
  const body = { prompt: text.slice(0, 300), max_tokens: 30, temperature: 0, echo: true, knn: {} };
  const { choices } = await ask(url, '/v1/completions', body);
  const { tokens } = choices[0].knn;
  const page = await newPage();
  await page.goto(`${url}/${linkTo(tokens, { at: tokens.length - 10 })}`);
  await page.locator('.verdict').waitFor();
  const told = { neighbors: await page.locator('.neighbors h3').textContent() };
  for (const name of ['λ', 'T', 'k']) {
    const slider = page.getByRole('slider', { name: new RegExp(`^${name},`) });
    const cpu = await cpuOf(page);
    told[name] = spread(await slider.evaluate(move, MOVES));
    told[name].cpu = await cpu(MOVES);
    await page.waitForTimeout(1500);
  }
  await page.context().close();
  return told;
}

/** Runs in the page. @returns milliseconds from each move until its picture */
async function move(slider, moves) {
  const times = [];
  const { min, max } = slider;
  for (let i = 0; i < moves; i++) {
    times.push(
      await new Promise((resolve) => {
        requestAnimationFrame(() => {
          const channel = new MessageChannel();
          const start = performance.now();
          slider.value = String(Number(min) + ((i * 0.618) % 1) * (max - min));
          slider.dispatchEvent(new InputEvent('input', { bubbles: true }));
          // Told after this frame is painted.
          channel.port1.onmessage = () => resolve(performance.now() - start);
          channel.port2.postMessage(0);
        });
      }),
    );
  }
  return times;
}

async function scoring() {
  const { tokens } = await ask(url, '/tokenize', { prompt: text });
  const { prompt } = await ask(url, '/detokenize', { tokens: tokens.slice(0, TOKENS) });
  const page = await newPage();
  await page.goto(`${url}/#/score`);
  await page.getByRole('textbox').fill(prompt);
  await page.evaluate(() => {
    window.frames60 = [];
    let last = performance.now();
    const tick = (now) => {
      window.frames60.push(now - last);
      last = now;
      window.frame = requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  const started = performance.now();
  await page.getByRole('button', { name: 'Score', exact: true }).click();
  await page.locator('dl.figures').waitFor();
  const seconds = round((performance.now() - started) / 1000, 2);
  const frames = await page.evaluate(() => {
    cancelAnimationFrame(window.frame);
    return window.frames60;
  });
  await page.locator('[data-t="0"]').click();
  await page.locator('.verdict').waitFor();
  const cpu = await cpuOf(page);
  const key = spread(await page.evaluate(pressKeys, PRESSES));
  key.cpu = await cpu(PRESSES);
  const shown = await page.locator('[data-t]').count();
  await page.context().close();
  return { tokens: shown, seconds, frames: spread(frames), key };
}

/** Runs in the page. @returns milliseconds from each arrow key until its picture */
async function pressKeys(presses) {
  const times = [];
  for (let i = 0; i < presses; i++) {
    times.push(
      await new Promise((resolve) => {
        requestAnimationFrame(() => {
          const channel = new MessageChannel();
          const start = performance.now();
          const options = { key: 'ArrowRight', bubbles: true, cancelable: true };
          document
            .querySelector('[aria-selected="true"]')
            .dispatchEvent(new KeyboardEvent('keydown', options));
          channel.port1.onmessage = () => resolve(performance.now() - start);
          channel.port2.postMessage(0);
        });
      }),
    );
  }
  return times;
}
