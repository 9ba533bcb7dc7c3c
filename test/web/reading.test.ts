/// <reference lib="dom" />
/** Write, Token, What if and Score, in the browser. */
import type { Page } from 'playwright-core';
import { beforeAll, expect, it } from 'vitest';
import { percent, short } from '../../web/src/state/format.ts';
import { logRatio, movedStep } from '../../web/src/state/moved.ts';
import { stories, TRAIN } from '../server/support.ts';
import { describeInChromium, Inspector, idsField, settledPanel, watchFor } from './inspector.ts';

const inspector = new Inspector(() => [TRAIN]);
const [story] = stories('train') as [{ id: string; text: string }];
const PROMPT = story.text.split(' ').slice(0, 12).join(' ');

/** Prompt and completion as token ids, greedy. */
let ids: number[];
let prompted: number;
const link = (rest = ''): string =>
  `#/write?ids=${idsField(ids)}&prompted=${prompted}${rest && `&${rest}`}`;

beforeAll(async () => {
  if (!inspector.url) return;
  const body = { prompt: PROMPT, max_tokens: 24, temperature: 0, echo: true, knn: {} };
  const { choices } = await inspector.ask('/v1/completions', body);
  ids = choices[0].knn.tokens.map((token: { id: number }) => token.id);
  prompted = choices[0].knn.tokens.filter((token: { prompt?: true }) => token.prompt).length;
});

const candidates = (page: Page) =>
  page
    .locator('.candidates tbody tr')
    .evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent)));

describeInChromium('Write', () => {
  it('streams a completion, tints each token by what memory did to it, and gathers its sources', async () => {
    const page = await inspector.open();
    await page.getByLabel('How the text begins').fill(PROMPT);
    const streamed = await watchFor(page, '[aria-busy="true"] [data-t="20"]:last-child');
    await page.keyboard.press('Control+Enter');
    await page.getByRole('button', { name: 'Write on' }).waitFor();
    expect(await streamed()).toBe(true);
    const body = {
      prompt: PROMPT,
      max_tokens: 40,
      temperature: 0,
      repetition_penalty: 1.1,
      echo: true,
      knn: {},
    };
    const { choices } = await inspector.ask('/v1/completions', body);
    const told = choices[0].knn.tokens.filter((token: { end?: true }) => !token.end);
    const shown = await page.locator('[data-t]').evaluateAll((tokens) =>
      tokens.map((token) => ({
        text: token.textContent!,
        kind: /\b(up|down)(\d)\b/.exec(token.className)?.slice(1).join('') ?? 'same',
        isPrompt: token.classList.contains('is-prompt'),
      })),
    );
    expect(shown.map(({ text }) => text).join('')).toBe(choices[0].text);
    expect(shown.map(({ isPrompt }) => isPrompt)).toEqual(
      told.map((token: { prompt?: true }) => token.prompt === true),
    );
    expect(shown.map(({ kind }) => kind)).toEqual(
      told.map(({ p, p_lm }: { p: number; p_lm: number }) => {
        const step = movedStep(logRatio(p, p_lm));
        return step === 0 ? 'same' : step > 0 ? `up${step}` : `down${-step}`;
      }),
    );
    expect(new Set(shown.map(({ kind }) => kind)).size).toBeGreaterThan(2);
    // The story's own beginning goes on as the story does, and says where it is from.
    const source = page.getByRole('complementary', { name: 'Sources' }).getByRole('listitem');
    expect(await source.locator('.title').allTextContents()).toContain(story.id);
    const span = page.locator('.span').first();
    expect(await span.locator('sup').textContent()).toBe('1');
    await source.first().hover();
    await expect.poll(() => span.getAttribute('class')).toContain('is-noted');
  });

  it('shows what the model would have written without memory', async () => {
    const page = await inspector.open(link());
    await page.getByRole('button', { name: 'And without memory?' }).click();
    const alone = await page.locator('.alone-text').textContent();
    const body = {
      prompt: ids.slice(0, prompted),
      max_tokens: ids.length - prompted,
      temperature: 0,
      repetition_penalty: 1.1,
      knn: { lambda: 0 },
    };
    const { choices } = await inspector.ask('/v1/completions', body);
    expect(alone).toBe(choices[0].text.trim());
    expect(page.url()).toContain('alone=1');
  });
});

describeInChromium('A token', () => {
  const at = () => prompted + 6;

  it('has its candidates under the model, the neighbors and both, as the server has them', async () => {
    const page = await inspector.open(link(`at=${at()}`));
    await settledPanel(page);
    const rows = await candidates(page);
    const body = { token_ids: ids.slice(0, at()), k: 1024, raw: true };
    const { raw } = await inspector.ask('/v1/knn/search', body);
    const own = { k: 16, lambda: 0.4, temperature: 5 };
    const { candidates: told } = await inspector.ask('/v1/knn/search', { ...body, ...own });
    expect(raw.entries.length).toBe(1024);
    for (const { text, p, p_lm, p_knn } of told.slice(0, 5)) {
      const [, ...numbers] = rows.find(([name]) => name === text.trim())!;
      expect(numbers).toEqual([percent(p_lm), percent(p_knn), percent(p)]);
    }
  });

  it('has its neighbors with their text, target and place, which opens in the document', async () => {
    const page = await inspector.open(link(`at=${at()}&k=1024`));
    await settledPanel(page);
    const panel = page.locator('.panel');
    await panel.evaluate((element) => element.scrollTo(0, element.scrollHeight / 2));
    await expect.poll(() => page.locator('.neighbor').count()).toBeGreaterThan(3);
    // Hundreds of places, of which those in sight are in the page.
    const places = Number(
      /in (\d+) places/.exec((await page.locator('.neighbors h3').textContent())!)![1],
    );
    expect(places).toBeGreaterThan(100);
    expect(await page.locator('.neighbor').count()).toBeLessThan(40);
    const row = page.locator('.neighbor').nth(2);
    await expect.poll(() => row.locator('.passage').textContent()).toMatch(/\w+ \w+/);
    const target = await row.locator('mark').textContent();
    const document = await row.locator('.title').textContent();
    await row.locator('.title').click();
    await page.getByRole('heading', { name: document! }).waitFor();
    expect(await page.locator('.reader mark').textContent()).toBe(target);
    await page.goBack();
    await page.locator('.panel .verdict').waitFor();
  });

  it('is mixed again in the browser as sliders move, even where no server answers', async () => {
    const page = await inspector.open(link(`at=${at()}`), { expectsErrors: true });
    await settledPanel(page);
    await page.route('**/v1/**', (route) => route.abort());
    const lambda = page.getByRole('slider', { name: /^λ/ });
    await lambda.fill('0');
    for (const [, alone, , mixture] of await candidates(page)) expect(mixture).toBe(alone);
    await lambda.fill('1');
    for (const [, , knn, mixture] of await candidates(page)) expect(mixture).toBe(knn);
    await page.getByRole('slider', { name: /^k/ }).fill('0');
    // One neighbor has all of the vote.
    expect((await candidates(page))[0]![2]).toBe('100%');
    // What was set is in the address once it rests, and the whole text is weighed again.
    await expect.poll(() => page.url()).toMatch(/k=1&lambda=1/);
    await page.getByText('The server cannot be reached.').waitFor();
    await page.unroute('**/v1/**');
    await page.getByRole('button', { name: 'Undo k 1' }).click();
    await expect.poll(() => page.getByRole('alert').count()).toBe(0);
    expect(page.url()).not.toMatch(/\bk=/);
  });

  it('is predicted anew without a document that is left out', async () => {
    const page = await inspector.open(link(`at=${at()}`));
    await settledPanel(page);
    const before = await candidates(page);
    const blamed = page.locator('.blame .title').first();
    const name = (await blamed.textContent())!;
    expect(name).toBe(story.id);
    await page
      .getByRole('button', { name: `Leave out ${name}` })
      .first()
      .click();
    await settledPanel(page);
    expect(await candidates(page)).not.toEqual(before);
    expect(await page.locator('.blame .title').allTextContents()).not.toContain(name);
    await expect.poll(() => page.locator('.sources .title').allTextContents()).not.toContain(name);
    await page
      .getByRole('button', { name: `Bring back ${name}` })
      .first()
      .click();
    await settledPanel(page);
    expect(await candidates(page)).toEqual(before);
  });

  it('gives way to another candidate, from which the text goes on', async () => {
    const page = await inspector.open(link(`at=${at()}`));
    await settledPanel(page);
    const other = page.locator('.candidates tr:not(.is-token) .candidate').first();
    const name = (await other.textContent())!;
    await other.click();
    expect(await page.getByRole('region', { name: 'Documents behind it' }).textContent()).toContain(
      `say “${name}”`,
    );
    await page.getByRole('button', { name: `Go on with “${name}” instead` }).click();
    await page.getByRole('button', { name: 'Write on' }).waitFor();
    expect((await page.locator(`[data-t="${at()}"]`).textContent())!.trim()).toBe(name);
    // The text before is a step back.
    await page.goBack();
    await expect.poll(() => page.locator('[data-t]').count()).toBe(ids.length);
  });
});

describeInChromium('A link', () => {
  it('opens the inspection that it was copied from', async () => {
    const at = prompted + 3;
    const page = await inspector.open(link(`at=${at}&lambda=0.8&exclude=${story.id}`));
    await settledPanel(page);
    const before = await candidates(page);
    await page.getByRole('button', { name: 'Copy link' }).first().click();
    await page.getByText('Link copied').waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    expect(copied).toBe(page.url());
    await page.getByRole('link', { name: 'Score' }).click();
    await page.getByLabel(/^Text, typed/).waitFor();
    await page.goto(copied);
    await page.reload();
    await settledPanel(page);
    expect(await candidates(page)).toEqual(before);
    expect(await page.getByRole('option', { selected: true }).getAttribute('data-t')).toBe(`${at}`);
    await page
      .getByRole('button', { name: `Bring back ${story.id}` })
      .first()
      .waitFor();
    expect(await page.getByRole('slider', { name: /^λ/ }).inputValue()).toBe('0.8');
  });

  it('goes with the inspection as JSON and as an image', async () => {
    const page = await inspector.open(link());
    const copy = page.locator('.actions .copy');
    await copy.getByRole('button', { name: 'Copy JSON' }).click();
    await page.getByText('JSON copied').waitFor();
    const json = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
    expect(json.tokens.map((token: { id: number }) => token.id)).toEqual(ids);
    await copy.getByRole('button', { name: 'Copy image' }).click();
    await page.getByText('Image copied').waitFor();
    const size = await page.evaluate(async () => {
      const [item] = await navigator.clipboard.read();
      const image = await createImageBitmap(await item!.getType('image/png'));
      return [image.width, image.height];
    });
    expect(size[0]).toBe(1520);
    expect(size[1]).toBeGreaterThan(200);
  });

  it('with an address that says nothing useful opens the beginning', async () => {
    const page = await inspector.open('#/write?ids=zz!&at=99&lambda=many');
    await page.getByRole('heading', { name: 'See why it says what it says.' }).waitFor();
  });
});

describeInChromium('Score', () => {
  const text = stories('valid')[0]!.text.slice(0, 600);

  it('measures a text with and without memory, token by token, and opens the worst and best', async () => {
    const page = await inspector.open('#/score');
    await page.getByLabel(/^Text, typed/).fill(text);
    await page.getByRole('button', { name: 'Score' }).click();
    const figures = page.locator('dl.figures');
    await figures.waitFor();
    const told = await inspector.ask('/v1/knn/score', { text });
    const shown = await figures.textContent();
    expect(shown).toContain(short(told.knnlm.perplexity));
    expect(shown).toContain(short(told.lm.perplexity));
    expect(await page.locator('[data-t]').count()).toBe(told.scored.length);
    const moved = told.scored.map(
      (token: { log_p: number; log_p_lm: number }) => token.log_p - token.log_p_lm,
    );
    const lists = page.getByRole('complementary', { name: /^Most helped/ });
    await lists.locator('section').nth(1).getByRole('button').first().click();
    await settledPanel(page);
    const selected = page.getByRole('option', { selected: true });
    expect(Number(await selected.getAttribute('data-t'))).toBe(moved.indexOf(Math.min(...moved)));
    await page.keyboard.press('Escape');
    await lists.locator('section').nth(0).getByRole('button').first().click();
    expect(Number(await selected.getAttribute('data-t'))).toBe(moved.indexOf(Math.max(...moved)));
    // By its place on the strip.
    const box = (await page.locator('.strip canvas').boundingBox())!;
    await page.mouse.click(box.x + (box.width * 10.5) / told.scored.length, box.y + 20);
    await expect.poll(() => selected.getAttribute('data-t')).toBe('10');
    await page.reload();
    await figures.waitFor();
    await expect.poll(() => selected.getAttribute('data-t')).toBe('10');
  });

  it('takes a file, says what is no text, and keeps a long one out of the address', async () => {
    const page = await inspector.open('#/score');
    const file = page.locator('input[type=file]');
    const bad = { name: 'photo.txt', mimeType: 'text/plain', buffer: Buffer.from([0xff, 0xfe]) };
    await file.setInputFiles(bad);
    await page.getByText('photo.txt is not a text in UTF-8.').waitFor();
    const long = stories('valid')
      .map((one) => one.text)
      .join('\n')
      .padEnd(8001, ' and so on');
    await file.setInputFiles({ ...bad, name: 'long.txt', buffer: Buffer.from(long) });
    await expect.poll(() => page.getByLabel(/^Text, typed/).inputValue()).toBe(long);
    await page.getByRole('button', { name: 'Score' }).click();
    await page.locator('[data-t="200"]').waitFor();
    expect(page.url().length).toBeLessThan(200);
    expect(await page.getByRole('button', { name: 'Copy link' }).isDisabled()).toBe(true);
  });
});
