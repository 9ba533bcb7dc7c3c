/** The inspector in a browser, before a server over a store: what the scripts of this folder share. */
import { existsSync, readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { openKnnLM } from '../../dist/index.js';
import { serve } from '../../dist/server/index.js';

const { places, flags } = JSON.parse(readFileSync(new URL('chromium.json', import.meta.url)));

/** @returns the store's memory, the server's address, a browser, and what closes all of them */
export async function openInspector(store) {
  const executablePath = [process.env.CHROMIUM_PATH ?? places]
    .flat()
    .find((path) => path && existsSync(path));
  if (!executablePath) throw new Error('No Chromium was found. Set CHROMIUM_PATH.');
  const knnlm = await openKnnLM(store);
  // The first query loads the model.
  await knnlm.query([]);
  const server = await serve(knnlm, { port: 0 });
  const browser = await chromium.launch({ executablePath, args: flags });
  return {
    knnlm,
    browser,
    url: server.url,
    async close() {
      await browser.close();
      await server.close({ graceMs: 0 });
      await knnlm.close();
    },
  };
}

/** The API, beside the page. */
export async function ask(url, path, body) {
  const response = await fetch(`${url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path}: ${await response.text()}`);
  return await response.json();
}

/** The fragment of a completion, as the page writes it. */
export function linkTo(tokens, rest = {}) {
  const ids = tokens.map(({ id }) => id.toString(36)).join('.');
  const prompted = tokens.filter(({ prompt }) => prompt).length;
  return `#/write?${new URLSearchParams({ ids, prompted, ...rest })}`;
}
