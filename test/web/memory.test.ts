/// <reference lib="dom" />
/** Documents and Store, in the browser: what memory holds, and changing it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import { bytes, count, short } from '../../web/src/state/format.ts';
import { stories, TRAIN } from '../server/support.ts';
import { describeInChromium, Inspector, idsField, settledPanel, watchFor } from './inspector.ts';

const NOTES = 2000;
const inspector = new Inspector(
  (folder) => {
    const path = join(folder, 'notes.jsonl');
    const line = (i: number) => JSON.stringify({ id: `note ${i}`, text: `Note ${i}.` });
    writeFileSync(path, Array.from({ length: NOTES }, (_, i) => line(i)).join('\n'));
    return [TRAIN, path];
  },
  (knnlm) => {
    const text = stories('valid').map((story) => ({ ...story, source: story.id }));
    return knnlm.tune(text, { k: 64, maxTokens: 500 });
  },
);
const TEXT = 'The zebra Ogo had a purple umbrella, and he gave it to the whale that sang at noon. ';
/** Memory has a say, whatever tuning found. */
const SETTINGS = 'k=16&lambda=0.5&temperature=5';

const remove = async (page: Page): Promise<void> => {
  await page.getByRole('button', { name: 'Remove from memory' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
};

/** What is dragged when a file of this text is. */
const draggedText = (page: Page, name: string, content: string) =>
  page.evaluateHandle(
    ([title, text]) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File([text!], title!, { type: 'text/plain' }));
      return transfer;
    },
    [name, content],
  );

describeInChromium('Documents', () => {
  it('are listed by the thousand, in parts as they come into sight, and found by name', async () => {
    const page = await inspector.open('#/documents');
    const list = page.getByRole('region', { name: /^2,040 documents/ });
    await list.getByRole('button', { name: '05/story-02966.txt' }).first().waitFor();
    expect(await list.getByRole('listitem').count()).toBeLessThan(50);
    await list.evaluate((element) => element.scrollTo(0, element.scrollHeight));
    await list.getByRole('button', { name: `note ${NOTES - 1}`, exact: true }).waitFor();
    expect(await list.getByRole('listitem').count()).toBeLessThan(50);
    await page.getByRole('searchbox').fill('NOTE 123');
    const found = page.getByRole('region', { name: '11 documents' });
    await found.getByRole('button', { name: 'note 1239', exact: true }).waitFor();
    await page.getByRole('searchbox').fill('nothing of this name');
    await page.getByText('No document is called “nothing of this name”.').waitFor();
    await page.getByRole('button', { name: 'Show all' }).click();
    await list.waitFor();
  });

  it('that are dropped are read with progress, retrieved at once, and no more when they are removed', async () => {
    const { tokens } = await inspector.ask('/tokenize', { prompt: TEXT });
    const at = tokens.length - 4;
    const inspection = `#/write?ids=${idsField(tokens)}&prompted=4&at=${at}&${SETTINGS}`;
    // Its being gone is told by the server's refusals, too.
    const page = await inspector.open(inspection, { expectsErrors: true });
    await settledPanel(page);
    const blamed = page.locator('.blame .title');
    expect(await blamed.allTextContents()).not.toContain('ogo.txt');

    await page.getByRole('link', { name: 'Documents' }).click();
    await page.getByText('Drop text files here').waitFor();
    const files = await draggedText(page, 'ogo.txt', TEXT.repeat(200));
    await page.dispatchEvent('main', 'dragover', { dataTransfer: files });
    await page.locator('.add.is-over').waitFor();
    const progressed = await watchFor(page, 'progress[aria-label="Adding ogo.txt"]');
    await page.dispatchEvent('main', 'drop', { dataTransfer: files });
    await page
      .locator('.uploads .is-added')
      .getByText(/contexts in/)
      .waitFor();
    expect(await progressed()).toBe(true);
    await page.getByText('2,041 documents').first().waitFor();

    // The link of the view leads back to what was looked at.
    await page.getByRole('link', { name: 'Write' }).click();
    await settledPanel(page);
    await expect.poll(() => blamed.first().textContent()).toBe('ogo.txt');
    const source = page.getByRole('complementary', { name: 'Sources' }).locator('.title');
    expect(await source.allTextContents()).toContain('ogo.txt');
    const panel = page.locator('.panel');
    await panel.getByRole('button', { name: 'Leave out ogo.txt' }).first().click();
    await panel.getByRole('button', { name: 'Open it, to remove it for good' }).click();
    await page.getByRole('heading', { name: 'ogo.txt' }).waitFor();
    await remove(page);
    await page.getByText('“ogo.txt” has left memory.').waitFor();
    await page.getByText('2,040 documents').first().waitFor();
    // Back at the text nothing is left out any more, since it is gone.
    await page.getByRole('link', { name: 'Write' }).click();
    await settledPanel(page);
    await expect.poll(() => page.url()).not.toContain('ogo.txt');
    await expect.poll(() => page.locator('.deviations').textContent()).not.toContain('ogo.txt');
    expect(await page.getByRole('alert').count()).toBe(0);

    await page.goto(`${inspector.url}/${inspection}`);
    await page.reload();
    await settledPanel(page);
    expect(await blamed.allTextContents()).not.toContain('ogo.txt');
    expect(await source.allTextContents()).not.toContain('ogo.txt');
    const { raw } = await inspector.ask('/v1/knn/search', { context: TEXT, raw: true });
    expect(raw.document_ids).not.toContain('ogo.txt');
  });

  it('may be dropped as soon as the page asks for them, however late its next frame comes', async () => {
    const page = await inspector.open('#/documents', { isAlone: true });
    await page.getByText('2,040 documents').first().waitFor();
    await page.getByRole('link', { name: 'Write' }).click();
    await page.getByRole('textbox').first().waitFor();
    await page.evaluate(() => {
      const inTime = window.setTimeout;
      window.requestAnimationFrame = () => 0;
      window.setTimeout = ((then: () => void, ms = 0) =>
        inTime(then, ms + 1000)) as typeof window.setTimeout;
    });
    await page.getByRole('link', { name: 'Documents' }).click();
    await page.getByText('Drop text files here').waitFor();
    const dataTransfer = await draggedText(page, 'early.txt', TEXT);
    await page.dispatchEvent('main', 'dragover', { dataTransfer });
    await page.locator('.add.is-over').waitFor();
  });

  it('of a name that is taken are replaced only when that is asked for', async () => {
    const page = await inspector.open('#/documents', { expectsErrors: true });
    await page.getByText('Paste a text').click();
    const paste = async (text: string): Promise<void> => {
      await page.getByLabel('Name', { exact: true }).fill('note 7');
      await page.getByLabel('Text', { exact: true }).fill(text);
      await page.getByRole('button', { name: 'Add', exact: true }).click();
    };
    await paste('Note 7.');
    await page.getByText('an equal text is there already').waitFor();
    await paste('Note seven is another one now.');
    await page.getByText('Memory has another text of this name.').waitFor();
    await page.getByRole('button', { name: 'Replace it' }).click();
    await page
      .locator('.uploads')
      .getByText(/contexts in/)
      .waitFor();
    const { pieces } = await inspector.ask('/v1/knn/documents/note%207');
    expect(pieces.join('')).toBe('Note seven is another one now.');
  });

  it('are named by what they gave lately', async () => {
    const [story] = stories('train') as [{ id: string; text: string }];
    const scored = { text: story.text, neighbors: 4, k: 16, lambda: 0.5, temperature: 5 };
    for (let i = 0; i < 3; i++) await inspector.ask('/v1/knn/score', scored);
    const page = await inspector.open('#/documents');
    const lately = page.getByRole('region', { name: 'Lately' }).getByRole('listitem').first();
    expect(await lately.getByRole('button').textContent()).toBe(story.id);
    await lately.getByRole('button').click();
    await page.getByText(/Lately behind [\d,]+ tokens/).waitFor();
    expect(await page.locator('.prose').textContent()).toBe(story.text);
  });

  it('are only read where the server only reads', async () => {
    const { url } = await inspector.serve({ readOnly: true });
    const page = await inspector.open('#/documents?document=note%208', { url });
    await page.getByText('the server only reads').waitFor();
    await page.getByRole('heading', { name: 'note 8' }).waitFor();
    expect(await page.getByRole('button', { name: /remove/i }).count()).toBe(0);
  });
});

describeInChromium('Store', () => {
  it('tells its size by part, its index, and what its settings rest on', async () => {
    const page = await inspector.open('#/store');
    const { stores } = await inspector.ask('/v1/knn/info');
    const [store] = stores;
    const size = page.getByRole('region', { name: 'Size' });
    expect(await size.textContent()).toContain(bytes(store.bytes.total));
    expect(await size.getByRole('row', { name: /^Keys/ }).textContent()).toContain(
      bytes(store.bytes.keys),
    );
    await page.getByText('Exact search').waitFor();
    const settings = page.getByRole('region', { name: 'Settings' });
    const { lm } = store.settings.evidence.perplexity;
    expect(await settings.textContent()).toContain(short(lm));
    const curves = await settings
      .getByRole('img')
      .evaluateAll((images) => images.map((image) => image.getAttribute('aria-label')));
    const { lambda, temperature, k } = store.settings;
    expect(curves).toEqual([
      expect.stringContaining(`at the chosen ${short(lambda)}, ${short(lm)} without memory`),
      expect.stringContaining(`at the chosen ${short(temperature)},`),
      expect.stringContaining(`at the chosen ${short(k)},`),
    ]);
    const points = settings.locator('polyline').first();
    expect((await points.getAttribute('points'))!.split(' ')).toHaveLength(
      store.settings.evidence.curves.lambda.length,
    );
  });

  it('maps its keys, reads the one that is pointed at, and lights up a group', async () => {
    const page = await inspector.open('#/store');
    const map = page.getByRole('application', { name: /^Map of 2000 keys/ });
    await map.waitFor();
    const told = await inspector.ask('/v1/knn/map?sample=2000');
    const point = page.locator('.map-point');
    const box = (await map.boundingBox())!;
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2, { steps: 8 });
    await point.getByRole('button').waitFor();
    expect(told.document_ids).toContain(await point.getByRole('button').textContent());
    await point.locator('blockquote').waitFor();
    // By keys: the first key, and the next in a direction.
    await map.focus();
    await page.keyboard.press('ArrowRight');
    const position = await point.locator('.meta').textContent();
    await page.keyboard.press('ArrowUp');
    await expect.poll(() => point.locator('.meta').textContent()).not.toBe(position);
    const picture = () => map.evaluate((canvas: HTMLCanvasElement) => canvas.toDataURL());
    const before = await picture();
    const group = page.locator('.map-legend button').first();
    await group.click();
    expect(await group.getAttribute('aria-pressed')).toBe('true');
    expect(await picture()).not.toBe(before);
    await page.getByLabel('Color by').selectOption('target');
    await expect
      .poll(() => page.locator('.map-legend li').first().textContent())
      .not.toMatch(/txt/);
    expect(page.url()).toContain('color=target');
  });

  it('shows the place of a context, and of a token of a text', async () => {
    const page = await inspector.open('#/store');
    const legend = page.locator('.map-legend .query');
    await page.getByLabel('Place a context').fill('Once upon a');
    expect(await legend.textContent()).toBe('“Once upon a”');
    const { tokens } = await inspector.ask('/tokenize', { prompt: 'Once upon a time' });
    const link = `#/write?ids=${idsField(tokens)}&at=${tokens.length - 1}`;
    await page.goto(`${inspector.url}/${link}`);
    await settledPanel(page);
    await page.getByRole('button', { name: 'On the map' }).click();
    const { prompt } = await inspector.ask('/detokenize', { tokens: tokens.slice(0, -1) });
    await expect.poll(() => legend.textContent()).toBe(`“${prompt}”`);
    await page.reload();
    await expect.poll(() => legend.textContent()).toBe(`“${prompt}”`);
  });

  it('counts what was removed, until it is compacted', async () => {
    const page = await inspector.open('#/documents?document=note%209');
    await remove(page);
    await page.getByText('“note 9” has left memory.').waitFor();
    await page.getByRole('link', { name: 'Store' }).click();
    const { stores } = await inspector.ask('/v1/knn/info');
    await page.getByText(`${count(stores[0].deleted)} removed ones await compaction`).waitFor();
  });
});
