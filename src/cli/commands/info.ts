/** `knnlm info`: what a store holds. Loads no model. */
import { datastoreInfo, listDocuments } from '../../open.ts';
import { defineCommand } from '../command.ts';
import { documentsText } from '../views/changes.ts';
import { infoText } from '../views/info.ts';

export const infoCommand = () =>
  defineCommand<{ documents?: boolean }, [store: string]>({
    name: 'info',
    summary: 'what a store holds, how it was made and where its bytes are',
    description:
      'Shows what a store holds, the model and settings it was made with, and where its bytes are.',
    examples: [
      ['knnlm info notes.knn', 'a summary'],
      ['knnlm info notes.knn --documents', 'and every document'],
      ['knnlm info notes.knn --json | jq .bytesPerEntry', 'one number of it'],
    ],
    configure(command) {
      command
        .argument('<store>', 'folder of the store, or milvus://host:port/collection')
        .option('--documents', 'list the documents as well: id, entries, hash, source, metadata');
    },
    async run([store], options, { screen }) {
      const info = await datastoreInfo(store);
      if (!options.documents) {
        screen.result(info, () => infoText(info, screen.colors));
        return;
      }
      const documentList = await listDocuments(store);
      screen.result({ ...info, documentList }, () =>
        [infoText(info, screen.colors), documentsText(documentList, screen.colors)].join('\n'),
      );
    },
  });
