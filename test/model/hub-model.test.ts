import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { downloadModel, isHubId } from '../../dist/model/hub-model.js';
import { loadModel } from '../../dist/model/load-model.js';
import { type HubServer, startHub } from './hub-server.ts';

const ID = 'tiny-org/stories.260K';
const stories = fileURLToPath(new URL('../fixtures/models/stories260K', import.meta.url));
const read = (name: string): Buffer => readFileSync(join(stories, name));
const files: Record<string, Buffer> = {
  'config.json': read('config.json'),
  'generation_config.json': read('generation_config.json'),
  'tokenizer.json': read('tokenizer.json'),
  'tokenizer_config.json': read('tokenizer_config.json'),
  'README.md': Buffer.from('not needed'),
  'onnx/model.onnx': read('onnx/model.onnx'),
  'onnx/model_q4.onnx': read('onnx/model_q4.onnx'),
  'onnx/model_fp16.onnx': Buffer.from('a graph whose weights lie beside it'),
  'onnx/model_fp16.onnx_data': Buffer.alloc(300_000, 'weights '),
  'onnx/model_fp16.onnx_data_1': Buffer.alloc(1000, 'more'),
};

let home: string;
let hub: HubServer;
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'knnlm-hub-'));
  hub = await startHub(ID, files);
  vi.stubEnv('HF_ENDPOINT', hub.url);
  vi.stubEnv('KNNLM_HOME', home);
  vi.stubEnv('HF_TOKEN', '');
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.close();
  rmSync(home, { recursive: true });
});

const folder = () => join(home, 'models', ...ID.split('/'));
const downloaded = () =>
  readdirSync(folder(), { recursive: true, encoding: 'utf8' })
    .filter((name) => lstatSync(join(folder(), name)).isFile())
    .sort();

describe('downloading a model', () => {
  it('opens a hub id as a model, and needs no network the second time', async () => {
    const progress: number[] = [];
    const model = await loadModel(ID, {
      onDownload: (p) => progress.push(p.receivedBytes / p.totalBytes),
    });
    expect(model.info).toMatchObject({
      name: ID,
      folder: folder(),
      family: 'llama',
      dtype: 'fp32',
    });
    await model.close();
    expect(progress.at(-1)).toBe(1);
    expect([...progress].sort((a, b) => a - b)).toEqual(progress);
    const asked = hub.requests.length;
    hub.status = 500;
    await (await loadModel(ID)).close();
    expect(hub.requests.length).toBe(asked);
  });

  it('fetches the files of the wanted dtype only, as real files', async () => {
    await downloadModel(ID, { home, dtype: 'fp16' });
    const wanted = Object.keys(files).filter(
      (name) => name.endsWith('.json') || name.includes('fp16'),
    );
    expect(downloaded()).toEqual(['.knnlm-download.json', ...wanted].sort());
    for (const name of wanted)
      expect(readFileSync(join(folder(), name)).equals(files[name]!)).toBe(true);
    // Without a dtype fp32 is meant, which is not here yet.
    await downloadModel(ID, { home });
    expect(downloaded()).toContain('onnx/model.onnx');
  });

  it('continues where the connection broke, again and again, to the same bytes', async () => {
    let breaks = 0;
    hub.breakAfter = (path, length) => {
      if (!path.includes('.onnx') || breaks >= 12) return undefined;
      breaks++;
      return Math.floor(length * 0.3 * Math.random()) + 1;
    };
    await downloadModel(ID, { home });
    expect(breaks).toBe(12);
    expect(readFileSync(join(folder(), 'onnx/model.onnx')).equals(files['onnx/model.onnx']!)).toBe(
      true,
    );
    const starts = hub.requests
      .filter((r) => r.host === 'storage')
      .map((r) => Number(/\d+/.exec(r.range ?? '0')![0]));
    expect(starts.length).toBeGreaterThan(5);
    expect([...starts].sort((a, b) => a - b)).toEqual(starts);
  });

  it.each([0, 1, 2, 4, 50])('continues after it was stopped %i ms after a break', async (ms) => {
    const controller = new AbortController();
    let breaks = 0;
    hub.breakAfter = (path) => {
      if (!path.includes('.onnx')) return undefined;
      if (breaks++ === 1) setTimeout(() => controller.abort(), ms);
      return 0;
    };
    const first = downloadModel(ID, { home, signal: controller.signal });
    await expect(first).rejects.toMatchObject({ code: 'ABORTED' });
    expect(breaks).toBe(2);
    hub.breakAfter = () => undefined;
    await downloadModel(ID, { home });
    expect(readFileSync(join(folder(), 'onnx/model.onnx')).equals(files['onnx/model.onnx']!)).toBe(
      true,
    );
    expect(downloaded().some((name) => name.endsWith('.incomplete'))).toBe(false);
  });

  it('starts over when the server cannot continue', async () => {
    hub.ranges = false;
    let breaks = 0;
    hub.breakAfter = (path, length) =>
      path.includes('.onnx') && breaks++ < 2 ? length >> 1 : undefined;
    await downloadModel(ID, { home });
    expect(readFileSync(join(folder(), 'onnx/model.onnx')).equals(files['onnx/model.onnx']!)).toBe(
      true,
    );
  });

  it('gives the token to the hub and to no other host', async () => {
    vi.stubEnv('HF_TOKEN', 'hf_secret');
    await downloadModel(ID, { home });
    const of = (host: string) => hub.requests.filter((r) => r.host === host);
    expect(of('hub').every((r) => r.authorization === 'Bearer hf_secret')).toBe(true);
    expect(of('storage').length).toBeGreaterThan(0);
    expect(of('storage').every((r) => r.authorization === undefined)).toBe(true);
  });
});

describe('a download that cannot succeed says why', () => {
  it.each(['onnx/model.onnx', 'tokenizer.json'])(
    'a damaged %s, which is not kept',
    async (name) => {
      await hub.close();
      hub = await startHub(ID, files, { [name]: 'ab'.repeat(name.includes('onnx') ? 32 : 20) });
      vi.stubEnv('HF_ENDPOINT', hub.url);
      await expect(downloadModel(ID, { home })).rejects.toMatchObject({
        code: 'DOWNLOAD_FAILED',
        message: expect.stringMatching(/arrived damaged.*Run the command again/),
      });
      expect(existsSync(join(folder(), name))).toBe(false);
      expect(downloaded().some((file) => file.endsWith('.incomplete'))).toBe(false);
    },
  );

  it.each(['../evil.json', '/etc/evil', 'onnx/../../evil', 'a\\..\\evil', 'C:evil'])(
    'a listing that names %s',
    async (name) => {
      hub.extraNames = [name];
      await expect(downloadModel(ID, { home })).rejects.toThrow(/names a file outside its folder/);
      expect(existsSync(folder())).toBe(false);
    },
  );

  it.each([
    [401, 'DOWNLOAD_FAILED', /accept the terms at .*set HF_TOKEN/],
    [403, 'DOWNLOAD_FAILED', /private/],
    [404, 'MODEL_NOT_FOUND', /no model tiny-org/],
    [503, 'DOWNLOAD_FAILED', /status 503/],
  ] as const)('status %i', async (status, code, message) => {
    hub.status = status;
    await expect(loadModel(ID)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it('no network, with the way out, and without the token', async () => {
    vi.stubEnv('HF_TOKEN', 'hf_secret');
    vi.stubEnv('HF_ENDPOINT', 'http://127.0.0.1:9');
    const error = await loadModel(ID).catch((e: Error) => e);
    expect(error).toMatchObject({
      code: 'DOWNLOAD_FAILED',
      message: expect.stringMatching(/Cannot reach http:\/\/127.0.0.1:9.*wiki-mini/),
    });
    expect(JSON.stringify(error) + (error as Error).stack).not.toContain('hf_secret');
  });

  it('a signal given before it began', async () => {
    const stopped = downloadModel(ID, { home, signal: AbortSignal.abort() });
    await expect(stopped).rejects.toMatchObject({
      code: 'ABORTED',
      message: 'The download was stopped.',
    });
  });

  it('a dtype that is not there, naming those that are', async () => {
    await expect(downloadModel(ID, { home, dtype: 'q4f16' })).rejects.toThrow(
      /no q4f16 graph. It offers: fp32, fp16, q4/,
    );
  });

  it('an endpoint or a token that cannot be one', async () => {
    vi.stubEnv('HF_ENDPOINT', 'huggingface.co');
    await expect(loadModel(ID)).rejects.toThrow(/HF_ENDPOINT must be/);
    vi.stubEnv('HF_ENDPOINT', hub.url);
    vi.stubEnv('HF_TOKEN', 'secret');
    await expect(loadModel(ID)).rejects.toThrow('HF_TOKEN must start with "hf_"');
  });
});

it('knows a hub id from a path', () => {
  for (const id of ['onnx-community/SmolLM2-135M-ONNX', 'a/b', 'Xenova/gpt2'])
    expect(isHubId(id)).toBe(true);
  for (const id of ['a', 'a/b/c', './a', '../a', '/a/b', 'a/..', 'a/b..c', 'a b/c'])
    expect(isHubId(id)).toBe(false);
});
