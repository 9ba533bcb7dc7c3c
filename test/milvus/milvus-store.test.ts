/** A store of a real model on Milvus: the reference numbers, and what becomes of it when the server fails. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { readDocuments } from '../../dist/datastore/sources/read-documents.js';
import type { SourceDocument } from '../../dist/datastore/types.js';
import { scoreDocument } from '../../dist/knnlm/evaluate.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { readTokens } from '../../dist/knnlm/read-tokens.js';
import { planWindows } from '../../dist/knnlm/windows.js';
import { buildDatastore, openKnnLM } from '../../dist/open.js';
import { createServer } from '../../dist/server/create-server.js';
import { expectClose, readGolden, sameUpToTies, settingsOf } from '../golden.ts';
import { hasMilvusLite, MilvusLite, missing } from './milvus-lite.ts';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

interface Ended {
  status: number;
  stdout: string;
  stderr: string;
}

const run = (...args: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(process.execPath, [command, ...args], (error, stdout, stderr) =>
      resolve({ status: Number(error?.code ?? 0), stdout, stderr }),
    );
  });

describe.skipIf(!hasMilvusLite)(`a store on Milvus${missing}`, () => {
  const root = mkdtempSync(join(tmpdir(), 'knnlm-milvus-store-'));
  const store = join(root, 'stories.knn');
  const golden = readGolden('stories260K');
  const documents: SourceDocument[] = [];
  let lite: MilvusLite;

  async function opened(): Promise<KnnLM> {
    const memory = await openKnnLM(store);
    onTestFinished(() => memory.close());
    return memory;
  }

  beforeAll(async () => {
    lite = await MilvusLite.start(join(root, 'server'));
    const built = await buildDatastore([`${fixtures}golden/tinystories.train.jsonl`], {
      out: store,
      model: `${fixtures}models/stories260K`,
      window: golden.window,
      stride: golden.stride,
      keyDtype: 'fp32',
      settings: { k: 16, lambda: 0.5, temperature: 2 },
      index: lite.url('stories'),
    });
    expect(built.index).toMatchObject({
      kind: 'milvus',
      url: lite.url('stories'),
      type: 'FLAT',
      sent: 15_248,
    });
    expect(built.index!.recall).toBeGreaterThan(0.9999);
    for await (const document of readDocuments([`${fixtures}golden/tinystories.valid.jsonl`]))
      documents.push(document);
  });

  afterAll(async () => {
    await lite?.stop();
    rmSync(root, { recursive: true, force: true });
  });

  it('finds the neighbors of the reference at its distances, and mixes to its log-probabilities', async () => {
    const memory = await opened();
    expect(memory.info.index.kind).toBe('milvus');
    const d = memory.datastore.keyDim;
    for (const [i, row] of golden.documents.entries()) {
      const { inputs } = await readTokens(documents[i]!, memory.model);
      const [window] = planWindows(inputs.length, golden);
      const [first] = await memory.model.keys([inputs.slice(0, window!.length)]);
      for (const { target, entries, squared_distances } of row.first_neighbours) {
        if (target >= window!.length) continue;
        const query = first!.slice(target * d, (target + 1) * d);
        const { ids, distances } = await memory.retriever.retrieve(query, { k: entries.length });
        expectClose(distances, squared_distances, 1e-3, true);
        expect(sameUpToTies([...ids], entries, squared_distances)).toBe(true);
      }
    }
    const name = 'k=64 temperature=1 lambda=0.25';
    const scored = await scoreDocument(documents[3]!, memory.model, memory.retriever, {
      settings: settingsOf(name),
      window: golden.window,
      stride: golden.stride,
    });
    expectClose(scored.mixture, golden.documents[3]!.knn[name]!.mixture, 1e-4);
  });

  it('is searched by every command as any other store', async () => {
    const [info, search, verify] = await Promise.all([
      run('info', store, '--json'),
      run('search', store, 'Once upon a time', '--json'),
      run('verify', store, '--json'),
    ]);
    expect(JSON.parse(info.stdout).index).toMatchObject({ kind: 'milvus', indexed: 15_248 });
    expect(JSON.parse(search.stdout).neighbors).toHaveLength(10);
    expect(JSON.parse(verify.stdout).problems).toEqual([]);
  });

  it('says that the server is gone, or goes on without the memory when told to, and has it back', async () => {
    const memory = await opened();
    const write = (onIndexFailure?: 'lm') =>
      memory.generate('Once upon a time', { maxTokens: 12, knn: { onIndexFailure } });
    const ended = async (generation: ReturnType<typeof write>) => {
      let step = await generation.next();
      while (!step.done) step = await generation.next();
      return step.value;
    };
    const whole = await ended(write());
    expect(whole.withoutMemory).toBeUndefined();

    const told = write('lm');
    await told.next();
    await lite.kill();
    const rest = await ended(told);
    expect(rest.tokens).toHaveLength(12);
    expect(rest.withoutMemory!.tokens).toBeGreaterThanOrEqual(9);
    expect(rest.withoutMemory!.reason).toContain(`127.0.0.1:${lite.port} does not answer`);
    const alone = rest.tokens.filter(({ withoutMemory }) => withoutMemory);
    expect(alone).toHaveLength(rest.withoutMemory!.tokens);
    for (const { p, pLm, neighbors } of alone) expect([p, neighbors]).toEqual([pLm, []]);
    await expect(ended(write())).rejects.toMatchObject({
      code: 'INDEX_UNAVAILABLE',
      message: expect.stringMatching(/does not answer .*Start it and try again/),
    });

    const server = createServer(memory);
    const complete = async (knn: object) => {
      const reply = await server.fetch(
        new Request('http://localhost/v1/completions', {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ prompt: 'Once upon a time', max_tokens: 3, temperature: 0, knn }),
        }),
      );
      return { status: reply.status, body: await reply.json() };
    };
    expect(await complete({})).toMatchObject({
      status: 503,
      body: { error: { message: expect.stringContaining('does not answer') } },
    });
    const { body } = await complete({ on_index_failure: 'lm' });
    for (const { p, p_lm, without_memory } of body.choices[0].knn.tokens)
      expect([p, without_memory]).toEqual([p_lm, true]);
    await server.close();

    const text = join(root, 'text.txt');
    writeFileSync(text, documents[3]!.text.slice(0, 200));
    const [failed, without] = await Promise.all([
      run('eval', store, text, '--json'),
      run('eval', store, text, '--json', '--on-index-failure', 'lm'),
    ]);
    expect(failed).toMatchObject({ status: 2, stdout: '' });
    expect(failed.stderr).toContain('does not answer');
    const evaluation = JSON.parse(without.stdout);
    expect(evaluation.withoutMemory.tokens).toBe(evaluation.tokens);
    expect(evaluation.knnlm).toEqual(evaluation.lm);
    expect(without.stderr).toContain('without the memory');

    await lite.restart();
    await expect
      .poll(async () => (await ended(write('lm'))).withoutMemory, { timeout: 20_000 })
      .toBeUndefined();
    expect((await ended(write())).text).toBe(whole.text);
  });
});
