/** What `info` prints: what a store holds, how it was made and where its bytes are. */

import type { StoreInfo } from '../../knnlm/store-info.ts';
import { bytes, count, nats, percent, settingsText } from '../numbers.ts';
import type { Colors } from '../screen.ts';
import { oneLine, pad } from '../text.ts';
import { facts } from './facts.ts';

const BAR_COLUMNS = 24;
type Pairs = NonNullable<StoreInfo['pairs']>;

export function infoText(info: StoreInfo, colors: Colors): string {
  const { model, settings } = info;
  const origin = {
    default: "the paper's defaults",
    given: 'given at build',
    'self-tuned': 'tuned on its own documents',
    tuned: 'tuned on held-out text',
  };
  const key = model.key ? `${model.key} (${oneLine(model.keyTensor)})` : oneLine(model.keyTensor);
  const head = facts(
    [
      ['documents', `${count(info.documents)}${info.pairs ? pairsText(info.pairs) : ''}`],
      [
        'entries',
        `${count(info.entries)}${info.deleted > 0 ? `, and ${count(info.deleted)} deleted ones not yet compacted` : ''}`,
      ],
      ['model', `${oneLine(model.name)} (${oneLine(model.family)}, ${model.dtype})`],
      [
        'key',
        `${key}, ${info.keyDim} wide, ${model.keyDtype}${info.hasKeys ? '' : info.remote ? ', on Milvus only, with the values' : ', dropped: codes are left'}`,
      ],
      ['windows', `${info.window} positions, one every ${info.stride}`],
      ['index', indexText(info.index)],
      ['settings', `${settingsText(settings)} (${origin[settings.source]})`],
      ['size', `${bytes(info.bytes.total)}, ${Math.round(info.bytesPerEntry)} bytes an entry`],
    ],
    colors,
  );
  const state = info.complete ? '' : colors.yellow('  (unfinished: run the same build again)');
  return `${colors.bold(oneLine(info.path))}${state}\n${head}\n${partsText(info.bytes, colors)}`;
}

/** Pairs, and what the model was told of them. */
function pairsText({ sourcePrefix, sourceLanguage, targetLanguage }: Pairs): string {
  const languages = [sourceLanguage, targetLanguage].filter((name) => name !== undefined);
  return [
    ' pairs of a source and its target',
    ...(languages.length > 0 ? [`in ${languages.map(oneLine).join(' → ')}`] : []),
    ...(sourcePrefix !== undefined ? [`sources read behind "${oneLine(sourcePrefix)}"`] : []),
  ].join(', ');
}

/** The kind, and what was measured when it was built. */
function indexText({
  kind,
  indexed,
  lists,
  listSizes: sizes,
  codes,
  probes,
  recall,
  error,
  standardError,
  judgedBy,
  bytes: size,
  url,
  type,
  search,
}: StoreInfo['index']) {
  const words = [`${oneLine(kind)} of ${count(indexed ?? 0)} entries`];
  if (lists !== undefined && probes !== undefined)
    words.push(
      `${count(probes)} of ${count(lists)} lists of ${oneLine(codes ?? '')} read per search`,
      sizes
        ? `${count(sizes.least)} to ${count(sizes.most)} entries a list, ${count(sizes.median)} in the middle one`
        : 'its lists cannot be read (knnlm verify)',
    );
  else if (url !== undefined)
    words.push(
      oneLine(url),
      oneLine([type ?? '', ...Object.entries(search ?? {}).flat()].join(' ').trim()),
    );
  else return oneLine(kind);
  if (recall !== undefined) words.push(`${percent(recall)} of neighbors found`);
  if (error !== undefined) {
    const by = judgedBy === undefined ? '' : ` with ${oneLine(judgedBy)}`;
    words.push(`log p off by ${nats(error, standardError)}${by}`);
  }
  if (size !== undefined) words.push(bytes(size));
  return words.join(', ');
}

function partsText(parts: StoreInfo['bytes'], colors: Colors): string {
  const rows = Object.entries(parts)
    .filter(([name, size]) => name !== 'total' && size > 0)
    .sort(([, a], [, b]) => b - a);
  return rows
    .map(([name, size]) => {
      const share = size / Math.max(1, parts.total);
      const bar = '━'.repeat(Math.max(1, Math.round(share * BAR_COLUMNS)));
      return `    ${colors.dim(pad(name, 10))} ${pad(bytes(size), 8, 'left')} ${pad(percent(share), 6, 'left')} ${colors.cyan(bar)}`;
    })
    .join('\n');
}
