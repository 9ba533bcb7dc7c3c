/** `knnlm verify`: reads every byte of a store and compares it with its checksums. */
import type { Verification } from '../../datastore/verify-datastore.ts';
import { KnnLMError } from '../../errors.ts';
import { verifyStore } from '../../knnlm/verify-store.ts';
import { defineCommand } from '../command.ts';
import { bytes, counted } from '../numbers.ts';
import { oneLine } from '../text.ts';

export const verifyCommand = () =>
  defineCommand<{ repair?: boolean }, [store: string]>({
    name: 'verify',
    summary: 'read every byte of a store and compare it with its checksums',
    description:
      'Reads every byte of a store and compares it with the checksums, sizes and counts that were stored with it. With ' +
      '--repair it also takes away what no finished work needs: what crashed writers left behind, and bytes after the end of a file. ' +
      'Damage to documents is told and never touched; a damaged index is removed, since it can be made again. Exit status 2 when ' +
      'there is any left.',
    examples: [
      ['knnlm verify notes.knn', 'say whether all is well'],
      ['knnlm verify notes.knn --repair', 'and tidy up after a crash'],
    ],
    configure: (command) =>
      void command
        .argument('<store>', 'folder of the store')
        .option('--repair', 'remove leftovers of crashes; nothing acknowledged is touched'),
    async run([store], { repair }, { screen, signal }) {
      const result = await verifyStore(store, {
        repair,
        onProgress: ({ doneBytes, totalBytes }) =>
          screen.progress({
            phase: 'verifying',
            done: doneBytes,
            total: totalBytes,
            unit: 'bytes',
          }),
        signal,
      });
      screen.result(result, () => verificationText(result));
      const { length } = result.problems;
      if (length === 0) return;
      throw new KnnLMError(
        'STORE_CORRUPT',
        `${store} is damaged: ${counted(length, 'problem')}. Restore it from a backup or build the datastore again.`,
      );
    },
  });

function verificationText({ files, bytes: read, problems, leftovers, repaired }: Verification) {
  const lines = problems.map(({ file, problem }) => `${oneLine(file)}: ${oneLine(problem)}`);
  for (const path of leftovers)
    lines.push(`${oneLine(path)}: left by a crash, does no harm; --repair removes it`);
  for (const what of repaired) lines.push(`repaired: ${oneLine(what)}`);
  if (problems.length === 0)
    lines.push(`${counted(files, 'file')}, ${bytes(read)} read: all of it is as it was written.`);
  return lines.join('\n');
}
