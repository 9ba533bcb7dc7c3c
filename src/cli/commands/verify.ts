/** `knnlm verify`: reads every byte of a store and compares it with its checksums. */
import type { Verification } from '../../datastore/verify-datastore.ts';
import { KnnLMError } from '../../errors.ts';
import { isMilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import { verifyStore } from '../../knnlm/verify-store.ts';
import { defineCommand } from '../command.ts';
import { bytes, count, counted } from '../numbers.ts';
import { oneLine } from '../text.ts';

export const verifyCommand = () =>
  defineCommand<{ repair?: boolean }, [store: string]>({
    name: 'verify',
    summary: 'read every byte of a store and compare it with its checksums',
    description:
      'Reads every byte of a store and compares it with the checksums, sizes and counts that were stored with it. With ' +
      '--repair it also takes away what no finished work needs: what crashed writers left behind, and bytes after the end of a file. ' +
      'Damage to documents is told and never touched; a damaged index is removed, since it can be made again. Of a store on Milvus ' +
      'every entry is looked up there, and with --repair sent again where one is missing or wrong. Exit status 2 when there is ' +
      'damage left.',
    examples: [
      ['knnlm verify notes.knn', 'say whether all is well'],
      ['knnlm verify notes.knn --repair', 'and tidy up after a crash'],
      ['knnlm verify milvus://localhost:19530/notes', 'what other machines get of it'],
    ],
    configure: (command) =>
      void command
        .argument('<store>', 'folder of the store, or milvus://host:port/collection')
        .option('--repair', 'remove leftovers of crashes; nothing acknowledged is touched'),
    async run([store], { repair }, { screen, signal }) {
      const result = await verifyStore(store, {
        repair,
        onProgress: ({ doneBytes, totalBytes, doneEntries, totalEntries }) =>
          screen.progress(
            doneEntries === undefined
              ? { phase: 'verifying', done: doneBytes, total: totalBytes, unit: 'bytes' }
              : { phase: 'looking up', done: doneEntries, total: totalEntries, unit: 'entries' },
          ),
        signal,
      });
      screen.result(result, () => verificationText(result));
      const { length } = result.problems;
      if (length === 0) return;
      const advice = isMilvusUrl(store)
        ? "Send it again where the store's folder lies: knnlm verify STORE --repair"
        : 'Restore it from a backup or build the datastore again.';
      throw new KnnLMError(
        'STORE_CORRUPT',
        `${store} is damaged: ${counted(length, 'problem')}. ${advice}`,
      );
    },
  });

function verificationText(verification: Verification) {
  const { entries, files, bytes: read, problems, leftovers, repaired } = verification;
  const lines = problems.map(({ file, problem }) => `${oneLine(file)}: ${oneLine(problem)}`);
  for (const path of leftovers)
    lines.push(`${oneLine(path)}: left by a crash, does no harm; --repair removes it`);
  for (const what of repaired) lines.push(`repaired: ${oneLine(what)}`);
  if (problems.length > 0) return lines.join('\n');
  lines.push(`${counted(files, 'file')}, ${bytes(read)} read: all of it is as it was written.`);
  if (entries !== undefined)
    lines.push(
      `entries looked up on Milvus: ${count(entries)}; all of them are as they were sent.`,
    );
  return lines.join('\n');
}
