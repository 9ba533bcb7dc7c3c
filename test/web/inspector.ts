/// <reference lib="dom" />
/** The inspector in the system's Chromium, before a real server over a small real store. */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type Browser,
  type BrowserContext,
  chromium,
  type Locator,
  type Page,
} from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { buildDatastore, openKnnLM } from '../../dist/open.js';
import { type Listening, type ServeOptions, serve } from '../../dist/server/listen.js';
import { MODEL, SETTINGS } from '../server/support.ts';

/** Where browsers are, and flags with which nothing is looked for elsewhere. */
const { places, flags }: { places: string[]; flags: string[] } = JSON.parse(
  readFileSync(new URL('../../bench/web/chromium.json', import.meta.url), 'utf8'),
);
const executablePath = [process.env.CHROMIUM_PATH ?? places]
  .flat()
  .find((path) => path && existsSync(path));

/** `describe`, where there is a browser. */
export function describeInChromium(name: string, tests: () => void): void {
  if (executablePath) return void describe(name, tests);
  describe.skip(`${name} (no Chromium was found: set CHROMIUM_PATH)`, tests);
}

export interface OpenPage {
  width?: number;
  height?: number;
  dark?: boolean;
  /** Another server than the file's own. */
  url?: string;
  /** Errors that the test brings about: what is said of them is not held against the page. */
  expectsErrors?: boolean;
  /** A browser profile of its own, for tests that change what a page asks for or its clock. */
  isAlone?: boolean;
}

/** Everything of a file: a store that is built, a server over it and a browser. */
export class Inspector {
  readonly folder = mkdtempSync(join(tmpdir(), 'knnlm-web-'));
  readonly path = join(this.folder, 'stories.knn');
  knnlm!: KnnLM;
  url!: string;
  #browser!: Browser;
  readonly #servers: Listening[] = [];
  /** What tests share, since a browser takes a second for a new page and a third of it for one that it knows. */
  #shared?: Page;
  readonly #contexts: BrowserContext[] = [];
  /** What no page may say: errors, and requests that leave the servers. */
  readonly #complaints: string[] = [];
  #expectsErrors = false;

  /**
   * @param sources to build the store from, given a folder for what is made for it
   * @param prepare after the store is built and opened, before it is served. Without it the settings are SETTINGS.
   */
  constructor(sources: (folder: string) => string[], prepare?: (knnlm: KnnLM) => Promise<unknown>) {
    beforeAll(async () => {
      if (!executablePath) return;
      const launched = chromium.launch({ executablePath, args: flags });
      const settings = prepare ? undefined : SETTINGS;
      await buildDatastore(sources(this.folder), {
        out: this.path,
        model: MODEL,
        window: 128,
        stride: 64,
        selfTune: false,
        ...(settings && { settings }),
      });
      this.knnlm = await openKnnLM(this.path);
      await prepare?.(this.knnlm);
      await this.knnlm.refresh();
      this.url = (await this.serve()).url;
      this.#browser = await launched;
    });
    afterEach(async () => {
      await Promise.all(this.#contexts.splice(0).map((context) => context.close()));
      expect(this.#complaints.splice(0)).toEqual([]);
    });
    afterAll(async () => {
      await this.#browser?.close();
      await Promise.all(this.#servers.map((server) => server.close({ graceMs: 0 })));
      await this.knnlm?.close();
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  /** Another server over the same store. */
  async serve(options: ServeOptions = {}): Promise<Listening> {
    const server = await serve(this.knnlm, { port: 0, ...options });
    this.#servers.push(server);
    return server;
  }

  /** The API, asked beside the page. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into it at will; its shape is tested with the server
  async ask(path: string, body?: unknown): Promise<any> {
    const response = await fetch(`${this.url}${path}`, {
      ...(body !== undefined && {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      }),
    });
    expect(response.status).toBe(200);
    return await response.json();
  }

  /** A page as a new visitor has it. @param fragment such as `#/score` */
  async open(fragment = '', options: OpenPage = {}): Promise<Page> {
    const { width = 1440, height = 900, dark = false, url = this.url, isAlone = false } = options;
    this.#expectsErrors = options.expectsErrors ?? false;
    const isOwn = url === this.url && !isAlone;
    const page = (isOwn && this.#shared) || (await this.#newPage());
    await page.setViewportSize({ width, height });
    await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
    if (page === this.#shared) {
      await page.evaluate((address) => {
        localStorage.clear();
        sessionStorage.clear();
        history.pushState(null, '', `/${address}`);
      }, fragment);
      await page.reload();
    } else {
      await page.goto(`${url}/${fragment}`);
      if (isOwn) this.#shared = page;
      else this.#contexts.push(page.context());
    }
    return page;
  }

  async #newPage(): Promise<Page> {
    const context = await this.#browser.newContext({
      // Without a graphics card every step of a transition costs the processor.
      reducedMotion: 'reduce',
      permissions: ['clipboard-read', 'clipboard-write'],
    });
    const page = await context.newPage();
    page.setDefaultTimeout(90_000);
    page.on('pageerror', (error) => this.#complaints.push(error.message));
    page.on('request', (request) => {
      const own = [...this.#servers.map((server) => server.url), 'blob:'];
      if (!own.some((start) => request.url().startsWith(start)))
        this.#complaints.push(`asked for ${request.url()}`);
    });
    page.on('console', (message) => {
      const isError = message.type() === 'error' || message.type() === 'warning';
      if (isError && !this.#expectsErrors) this.#complaints.push(message.text());
    });
    return page;
  }
}

/** @returns what tells whether anything matched a selector from now on, however shortly */
export async function watchFor(page: Page, selector: string): Promise<() => Promise<boolean>> {
  const handle = await page.evaluateHandle((wanted) => {
    const seen = { ever: false };
    new MutationObserver(() => {
      seen.ever ||= document.querySelector(wanted) !== null;
    }).observe(document.body, { subtree: true, childList: true, attributes: true });
    return seen;
  }, selector);
  return () => handle.evaluate((seen) => seen.ever);
}

/** The panel once it shows what belongs to the token that is picked. */
export async function settledPanel(page: Page): Promise<Locator> {
  await page.locator('.panel .verdict').waitFor();
  // A change of settings or documents is asked for after a moment.
  await page.waitForTimeout(120);
  await page.locator('.panel > div:not(.is-stale) .verdict').waitFor();
  return page.locator('.panel');
}

/** Token ids in the address, as the page writes them. */
export const idsField = (ids: readonly number[]): string =>
  ids.map((id) => id.toString(36)).join('.');
