/** `knnlm update`: documents of which some are stored with an older text. */
import { addDocuments } from '../../open.ts';
import { defineCommand } from '../command.ts';
import { addSummary } from '../views/changes.ts';
import { type AddCommandOptions, addRequest, configureAdd } from './add.ts';

export const updateCommand = () =>
  defineCommand<AddCommandOptions, [store: string, inputs: string[]]>({
    name: 'update',
    summary: 'replace documents by a newer text under the same id',
    description:
      'Reads documents like add, and replaces those whose id is stored with another text: from one moment to the next the ' +
      'new text is retrieved and the old one is not. What has not changed is passed over.',
    examples: [['knnlm update notes.knn notes/', 'what has changed in a folder, and what is new']],
    onInterrupt:
      'Stopping; what is stored stays, and the same command goes on from there. Ctrl-C again ends at once.',
    configure: configureAdd,
    async run([store, inputs], options, { screen, signal }) {
      const request = addRequest(store, options, screen, signal);
      const result = await addDocuments(store, inputs, { ...request, replace: true });
      screen.result(result, () => addSummary(result, store, screen.colors));
    },
  });
