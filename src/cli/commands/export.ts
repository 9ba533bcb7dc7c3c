/** `knnlm export`: a store's keys and values as arrays for Python. Loads no model. */
import { Option } from 'commander';
import { ARRAY_LAYOUTS, type ArrayLayout } from '../../datastore/interchange/array-files.ts';
import { exportDatastore } from '../../datastore/interchange/export-datastore.ts';
import { defineCommand } from '../command.ts';
import { bytes, count } from '../numbers.ts';
import { oneLine } from '../text.ts';
import { facts } from '../views/facts.ts';

export const exportCommand = () =>
  defineCommand<{ layout?: ArrayLayout }, [store: string, folder: string]>({
    name: 'export',
    summary: "write a store's keys and values as arrays for Python",
    description:
      "Writes what a store holds, removed documents left out, as one array of keys and one of values, the way Python's " +
      'kNN-LM programs map them into memory, and a JSON list of the documents beside them. `knnlm import` reads all three.',
    examples: [
      ['knnlm export notes.knn arrays/', 'NumPy files: numpy.load(path, mmap_mode="r")'],
      [
        'knnlm export notes.knn arrays/ --layout transformers',
        'as knn-transformers names and reads them',
      ],
    ],
    onInterrupt: 'Stopping; files that are not whole are named .part. Ctrl-C again ends at once.',
    configure: (command) =>
      void command
        .argument('<store>', 'folder of the store')
        .argument('<folder>', 'where to write')
        .addOption(
          new Option(
            '--layout <layout>',
            'npy (with header), transformers (knn-transformers) or fairseq (urvashik/knnlm); the last two without header (default: npy)',
          ).choices(ARRAY_LAYOUTS),
        ),
    async run([store, folder], { layout }, { screen, signal }) {
      const result = await exportDatastore(store, folder, {
        layout,
        onProgress: (progress) =>
          screen.progress({ phase: 'exporting', unit: 'entries', ...progress }),
        signal,
      });
      screen.result(result, () =>
        facts(
          [
            [
              'keys',
              `${oneLine(result.keys)}  (${count(result.entries)} × ${result.dim} ${result.keyDtype})`,
            ],
            ['values', `${oneLine(result.values)}  (${result.valueDtype})`],
            ['documents', oneLine(result.documents)],
            ['size', bytes(result.bytes)],
          ],
          screen.colors,
        ),
      );
    },
  });
