/// <reference lib="dom" />
/** The page itself, in the browser: its safety, who can use it, how it looks when something is wrong, its size. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import type { Page } from 'playwright-core';
import { beforeAll, describe, expect, it } from 'vitest';
import { stories, TRAIN } from '../server/support.ts';
import { describeInChromium, Inspector, idsField, settledPanel } from './inspector.ts';

const inspector = new Inspector(() => [TRAIN]);
const axe = readFileSync(fileURLToPath(import.meta.resolve('axe-core')), 'utf8');
const text = stories('valid')[0]!.text.slice(0, 160);
let tokens: number[];

beforeAll(async () => {
  if (inspector.url) ({ tokens } = await inspector.ask('/tokenize', { prompt: text }));
});

/** Every view with something in it, and what shows that it is there. */
const views = (): Record<string, [fragment: string, ready: string]> => ({
  'the beginning': ['#/write', '.beginning'],
  'a text and a token': [`#/write?ids=${idsField(tokens)}&prompted=9&at=30`, '.verdict'],
  'a scored text': [`#/score?text=${encodeURIComponent(text)}`, 'dl.figures'],
  documents: ['#/documents', '.document .title'],
  'a document': [`#/documents?document=${stories('train')[0]!.id}&position=20`, '.prose mark'],
  'the store': ['#/store?context=Once', '.map-legend .query'],
});

describeInChromium('The page, for everyone', () => {
  // Colors are those of the theme, what is shown that of the width.
  const looks = [
    { width: 1440, height: 900, colorScheme: 'light' },
    { width: 390, height: 844, colorScheme: 'dark' },
  ] as const;

  it('has no violation that axe calls serious, on a desk and on a phone, light and dark', async () => {
    const page = await inspector.open();
    // Evaluated by the test, which the page's policy does not hold for.
    await page.evaluate(axe);
    for (const [name, [fragment, ready]] of Object.entries(views())) {
      await page.goto(`${inspector.url}/${fragment}`);
      await page.locator(ready).first().waitFor();
      for (const { colorScheme, ...size } of looks) {
        await page.setViewportSize(size);
        await page.emulateMedia({ colorScheme });
        const look = `${name}, ${size.width} px, ${colorScheme}`;
        expect(await violations(page), look).toEqual([]);
        // Nothing is wider than the window.
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        expect(wide, look).toBe(size.width);
      }
    }
  });

  it('is used by keyboard alone, and everything that can be pressed can be reached', async () => {
    const page = await inspector.open(`#/write?ids=${idsField(tokens)}&prompted=9`);
    await page.locator('[data-t="20"]').waitFor();
    await page.keyboard.press('Tab');
    expect(await focused(page)).toBe('Skip to the content');
    await page.keyboard.press('Enter');
    // From the content on the first stop is the text.
    await page.keyboard.press('Tab');
    for (let i = 0; i < 4; i++) await page.keyboard.press('ArrowRight');
    const selected = page.getByRole('option', { selected: true });
    await expect.poll(() => selected.getAttribute('data-t')).toBe('4');
    await page.keyboard.press('ArrowDown');
    await expect.poll(() => selected.getAttribute('data-t')).not.toBe('4');
    const below = (await selected.boundingBox())!;
    const above = (await page.locator('[data-t="4"]').boundingBox())!;
    expect(below.y).toBeGreaterThan(above.y);
    await settledPanel(page);
    expect(await unreached(page)).toEqual([]);
    await page.keyboard.press('Escape');
    await expect.poll(() => page.locator('.panel.is-idle').count()).toBe(1);
    expect(await focused(page)).toBe(await page.locator('[data-t]:focus').textContent());
  });

  it.each(['documents', 'the store', 'the beginning'])(
    'lets the Tab key reach everything in %s',
    async (name) => {
      const [fragment, ready] = views()[name]!;
      const page = await inspector.open(fragment);
      await page.locator(ready).first().waitFor();
      expect(await unreached(page)).toEqual([]);
    },
  );

  it('keeps still for those who ask for less motion', async () => {
    const page = await inspector.open('', { isAlone: true });
    await page.route('**/v1/knn/info', () => new Promise(() => undefined));
    await page.reload();
    await page.getByText('Asking the server what it serves…').waitFor();
    const moving = () => page.evaluate(() => document.getAnimations().length);
    await page.emulateMedia({ reducedMotion: 'no-preference' });
    expect(await moving()).toBeGreaterThan(0);
    await page.emulateMedia({ reducedMotion: 'reduce' });
    expect(await moving()).toBe(0);
  });

  it('takes a theme that is chosen', async () => {
    const page = await inspector.open('#/write');
    const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).background);
    const light = await paper();
    const theme = page.getByRole('button', { name: /^Theme: system/ });
    await theme.click();
    await page.getByRole('button', { name: /^Theme: light/ }).click();
    expect(await paper()).not.toBe(light);
    await page.reload();
    expect(await paper()).not.toBe(light);
  });
});

describeInChromium('The page, for safety', () => {
  it('shows markup and script in a document as the text that they are', async () => {
    const bad = '<script>window.hacked=1</script><img src=x onerror="window.hacked=2"> said Tim. ';
    await inspector.knnlm.add([{ id: '<b>bold</b>.txt', text: bad.repeat(8), source: 'test' }]);
    const { tokens: ids } = await inspector.ask('/tokenize', { prompt: bad + bad });
    const page = await inspector.open(
      `#/write?ids=${idsField(ids)}&prompted=3&at=${ids.length - 6}`,
    );
    await settledPanel(page);
    expect(await page.locator('.text').textContent()).toContain(bad);
    const title = page.locator('.blame .title').first();
    expect(await title.textContent()).toBe('<b>bold</b>.txt');
    await title.click();
    await page.locator('.prose').waitFor();
    expect(await page.locator('.prose').textContent()).toContain(bad.repeat(8));
    for (const fragment of ['#/documents', `#/score?text=${encodeURIComponent(bad)}`, '#/store']) {
      await page.goto(`${inspector.url}/${fragment}`);
      await page.getByRole('button').nth(3).waitFor();
    }
    expect(await page.locator('main script, main img, main b b').count()).toBe(0);
    expect(await page.evaluate(() => 'hacked' in window)).toBe(false);
    await inspector.knnlm.remove({ ids: ['<b>bold</b>.txt'] });
  });

  it('runs no script that stands in a page, and loads nothing from elsewhere', async () => {
    const response = await fetch(inspector.url);
    const policy = response.headers.get('content-security-policy')!;
    expect(policy).toContain("script-src 'self'");
    expect(policy).not.toMatch(/unsafe|\*|https?:/);
    const html = await response.text();
    expect(html).not.toMatch(/<script(?![^>]*\bsrc=)|<style|\son\w+=|https?:\/\//);
    const page = await inspector.open('', { expectsErrors: true });
    await page.evaluate(() => {
      const script = document.createElement('script');
      script.textContent = 'window.hacked = 1';
      document.body.append(script);
    });
    expect(await page.evaluate(() => 'hacked' in window)).toBe(false);
  });
});

describeInChromium('The page, when something is wrong', () => {
  it('asks for the key that the server wants, and keeps it for this tab', async () => {
    const { url } = await inspector.serve({ apiKey: 'sesame' });
    const page = await inspector.open('#/store', { url, expectsErrors: true });
    const field = page.getByLabel(/^This server asks for an API key/);
    await field.fill('wrong');
    await page.getByRole('button', { name: 'Open' }).click();
    await field.fill('sesame');
    await page.getByRole('button', { name: 'Open' }).click();
    await page.getByRole('heading', { name: 'stories.knn' }).waitFor();
    await page.reload();
    await page.getByRole('heading', { name: 'stories.knn' }).waitFor();
  });

  it('says that the server is gone, and goes on when it is back', async () => {
    const { url, port, close } = await inspector.serve();
    const page = await inspector.open('#/write', { url, expectsErrors: true });
    await page.getByLabel('How the text begins').fill('Once upon');
    await close();
    await page.getByRole('button', { name: 'Write', exact: true }).click();
    await page.getByText('The server cannot be reached.').waitFor();
    await page.getByLabel('How the text begins').waitFor();
    await inspector.serve({ port });
    await page.getByRole('button', { name: 'Write', exact: true }).click();
    await page.getByRole('button', { name: 'Write on' }).waitFor();
    expect(await page.getByRole('alert').count()).toBe(0);
  });

  it('says what the server refuses, and what to do', async () => {
    const page = await inspector.open('#/write?ids=zzz&at=0', { expectsErrors: true });
    await page.getByRole('alert').getByText(/46655/).waitFor();
    await page.goto(`${inspector.url}/#/documents?document=nowhere`);
    await page.getByRole('alert').getByText('There is no document "nowhere"').waitFor();
    await page.getByRole('button', { name: 'Try again' }).waitFor();
  });

  it('says that it waits, and after a while that it waits long', async () => {
    const page = await inspector.open('', { isAlone: true });
    let answer = (): void => undefined;
    await page.route('**/v1/knn/map?*', async (route) => {
      await new Promise<void>((resolve) => {
        answer = resolve;
      });
      await route.continue();
    });
    await page.clock.install();
    await page.getByRole('link', { name: 'Store' }).click();
    await page.getByText('Reading 2,000 keys…').waitFor();
    expect(await page.getByText('This takes longer than usual.').count()).toBe(0);
    await page.clock.runFor(4000);
    await page.getByText('This takes longer than usual.').waitFor();
    answer();
    await page.clock.resume();
    await page.getByRole('application').waitFor();
  });
});

describe('What a browser loads first', () => {
  it('is less than 60 KB of compressed JavaScript', () => {
    const folder = fileURLToPath(new URL('../../dist/web/', import.meta.url));
    const html = readFileSync(`${folder}index.html`, 'utf8');
    const first = new Set(
      Array.from(html.matchAll(/(?:src|href)="\/(assets\/[^"]+\.js)"/g), ([, path]) => path!),
    );
    // What these import without waiting to be asked.
    for (const path of first) {
      const code = readFileSync(folder + path, 'utf8');
      for (const [, name] of code.matchAll(/(?:from|import)\s*"\.\/([^"]+\.js)"/g))
        first.add(`assets/${name}`);
    }
    const bytes = [...first].map((path) => gzipSync(readFileSync(folder + path)).length);
    const total = bytes.reduce((sum, size) => sum + size, 0);
    expect(first.size).toBeGreaterThan(0);
    expect(total).toBeLessThan(60_000);
    // Views that are opened later are files of their own.
    expect(
      readdirSync(`${folder}assets`).filter((name) => name.endsWith('.js')).length,
    ).toBeGreaterThan(first.size);
  });
});

async function violations(page: Page): Promise<string[]> {
  return await page.evaluate(async () => {
    // biome-ignore lint/suspicious/noExplicitAny: axe is put into the page
    const { violations } = await (window as any).axe.run(document, {
      resultTypes: ['violations'],
    });
    // biome-ignore lint/suspicious/noExplicitAny: as above
    return violations.map((found: any) => `${found.impact} ${found.id}: ${found.nodes[0].html}`);
  });
}

const focused = (page: Page): Promise<string | null> =>
  page.evaluate(() => document.activeElement!.textContent);

/** What can be pressed or changed and is never stopped at by Tab. */
async function unreached(page: Page): Promise<string[]> {
  await page.evaluate(() => {
    const all = 'a[href], button:not(:disabled), input, select, textarea, summary, [tabindex="0"]';
    for (const element of document.querySelectorAll<HTMLElement>(all)) {
      if (element.checkVisibility()) element.dataset.wanted = '';
    }
    addEventListener('focusin', ({ target }) => delete (target as HTMLElement).dataset.wanted);
    (document.activeElement as HTMLElement).blur();
    getSelection()!.collapse(document.body, 0);
  });
  const count = await page.locator('[data-wanted]').count();
  expect(count).toBeGreaterThan(5);
  for (let i = 0; i < count + 80; i++) {
    await page.keyboard.press('Tab');
    if ((await page.locator('[data-wanted]').count()) === 0) break;
  }
  return await page
    .locator('[data-wanted]')
    .evaluateAll((rest) => rest.map((one) => one.outerHTML));
}
