/** `knnlm info`: what a store holds. Loads no model. */
import { datastoreInfo } from '../../open.ts';
import { defineCommand } from '../command.ts';
import { infoText } from '../views/info.ts';

export const infoCommand = () =>
  defineCommand<object, [store: string]>({
    name: 'info',
    summary: 'what a store holds, how it was made and where its bytes are',
    description:
      'Shows what a store holds, the model and settings it was made with, and where its bytes are.',
    examples: [
      ['knnlm info notes.knn', 'a summary'],
      ['knnlm info notes.knn --json | jq .bytesPerEntry', 'one number of it'],
    ],
    configure: (command) => void command.argument('<store>', 'folder of the store'),
    async run([store], _options, { screen }) {
      const info = await datastoreInfo(store);
      screen.result(info, () => infoText(info, screen.colors));
    },
  });
