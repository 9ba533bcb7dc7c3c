/**
 * Takes up what other processes did to the stores: before a request reads them, the manifest of each, the one small file
 * that every change replaces, is looked at. So what another process has removed is not retrieved by the next request.
 */
import { stat } from 'node:fs/promises';
import { manifestPath } from '../datastore/manifest.ts';
import { ioError } from '../errors.ts';
import type { KnnLM } from '../knnlm/knnlm.ts';

export class StoreWatch {
  readonly #knnlm: KnnLM;
  #seen: string | undefined;

  constructor(knnlm: KnnLM) {
    this.#knnlm = knnlm;
  }

  /** Errors: those of `KnnLM.refresh`: a store that cannot be read is not answered from memory, which may hold what was removed. */
  async takeUp(): Promise<void> {
    await this.#knnlm.pull();
    const now = await this.#look();
    if (now === this.#seen) return;
    await this.#knnlm.refresh();
    this.#seen = now;
  }

  async #look(): Promise<string> {
    const looks = this.#knnlm.stores.map(async ({ datastore }) => {
      const path = manifestPath(datastore.path);
      const { ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true }).catch((cause) => {
        throw ioError('read', path, cause);
      });
      return [ino, size, mtimeNs, ctimeNs].join(' ');
    });
    return (await Promise.all(looks)).join('\n');
  }
}
