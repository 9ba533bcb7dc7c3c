/** What `model` prints: what a model offers, where its keys are, and what stands in the way. */
import type { ModelDescription } from '../../model/describe-model.ts';
import { KEY_NAMES } from '../../model/language-model.ts';
import { bytes, count } from '../numbers.ts';
import type { Colors } from '../screen.ts';
import { oneLine, pad } from '../text.ts';
import { facts } from './facts.ts';

export function modelText(description: ModelDescription, colors: Colors): string {
  const parts = [
    `${colors.bold(oneLine(description.name))} ${colors.dim(`in ${oneLine(description.folder)}`)}`,
    usableFacts(description, colors),
    keysText(description, colors),
    graphsText(description, colors),
    ...description.warnings.map((text) => `${colors.yellow('warning:')} ${oneLine(text)}`),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

function usableFacts(description: ModelDescription, colors: Colors): string {
  const { info, tokenizer, boundary, capabilities } = description;
  if (!info) return colors.red('No graph of this model can be used.');
  const token = (name: 'bos' | 'eos') =>
    boundary ? `${oneLine(boundary[name].text)} (${boundary[name].id})` : '';
  const lacks = [
    ...(capabilities?.score === false ? ['no log-probabilities of every position: no eval'] : []),
    ...(capabilities?.cache === false ? ['no attention cache: slow generation'] : []),
  ];
  return facts(
    [
      [
        'family',
        `${oneLine(info.family)}, ${info.layers} layers${description.encoder ? ' in the decoder; reads pairs of a source and its target' : ''}`,
      ],
      ['vocabulary', `${count(info.vocabSize)}${tokenizer ? `, ${tokenizer.kind} tokenizer` : ''}`],
      ['context', `${count(info.contextLength)} positions`],
      ['key width', `${count(info.keyDim)}, ${bytes(2 * info.keyDim)} a token as fp16`],
      [
        description.encoder ? 'targets' : 'documents',
        `begin with ${token('bos')}, end with ${token('eos')}`,
      ],
      ['limits', lacks.join('; ')],
    ],
    colors,
  );
}

/** The six keys of Table 5 of the paper, the chosen one marked. */
function keysText({ keys, info }: ModelDescription, colors: Colors): string {
  if (!keys) return '';
  const rows = KEY_NAMES.map((name) => {
    const location = keys[name];
    const mark = info?.key === name ? colors.green('▸') : ' ';
    const where =
      location.tensor !== undefined
        ? oneLine(location.tensor)
        : colors.yellow(`not found: ${oneLine(location.reason)}`);
    return `  ${mark} ${pad(name, 28)}${where}`;
  });
  return [colors.dim('  keys (--key)'), ...rows].join('\n');
}

function graphsText({ graphs, info }: ModelDescription, colors: Colors): string {
  const rows = graphs.flatMap(({ file, dtype, bytes: size, externalFiles, encoder, problems }) => {
    const mark = info?.file === file ? colors.green('▸') : ' ';
    const external = [
      ...(encoder === undefined ? [] : [`, encoder in ${oneLine(encoder)}`]),
      ...(externalFiles.length > 0
        ? [`, weights in ${externalFiles.map(oneLine).join(', ')}`]
        : []),
    ].join('');
    return [
      `  ${mark} ${pad(dtype, 8)}${oneLine(file)} ${colors.dim(`${bytes(size)}${external}`)}`,
      ...problems.map((problem) => `            ${colors.yellow(oneLine(problem))}`),
    ];
  });
  return [colors.dim('  graphs (--dtype)'), ...rows].join('\n');
}
