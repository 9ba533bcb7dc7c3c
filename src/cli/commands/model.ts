/** `knnlm model`: what a model folder or hub id offers, before anything is built with it. */
import { describeModel } from '../../model/describe-model.ts';
import { defineCommand } from '../command.ts';
import { modelText } from '../views/model.ts';

export const modelCommand = () =>
  defineCommand<object, [model: string]>({
    name: 'model',
    summary: 'what a model offers: family, key tensors, dtype, problems',
    description:
      'Shows what a model folder or hub id offers: family, sizes, the tensors that can be keys, and whatever stands in ' +
      'the way of using it.',
    examples: [
      ['knnlm model wiki-mini-2', 'the bundled one'],
      ['knnlm model onnx-community/SmolLM2-135M-ONNX', 'one from the Hugging Face hub'],
    ],
    configure: (command) => void command.argument('<model>', 'folder, hub id or bundled name'),
    async run([name], _options, { screen, signal }) {
      const description = await describeModel(name, { onDownload: screen.download, signal });
      screen.result(description, () => modelText(description, screen.colors));
    },
  });
