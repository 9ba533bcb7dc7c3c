/** The tokenizer as lm-evaluation-harness asks for it: /tokenizer_info, /tokenize, /detokenize. */
import type { Call } from '../call.ts';
import { readPrompt } from '../completions/prompt.ts';
import { defineRoute } from '../route.ts';
import {
  detokenizeReply,
  detokenizeRequest,
  tokenizeReply,
  tokenizeRequest,
  tokenizerInfoReply,
} from '../schemas/models.ts';

export const tokenizerInfo = defineRoute({
  method: 'get',
  path: '/tokenizer_info',
  id: 'getTokenizerInfo',
  tag: 'Tokenizer',
  summary: 'Special tokens and the chat template.',
  reply: tokenizerInfoReply,
  handle(_, { service }) {
    const { tokenizer, info, chatTemplate = null } = service.knnlm.model;
    const { bos, eos } = tokenizer;
    const end = tokenizer.tokenText(eos);
    return {
      bos_token: tokenizer.tokenText(bos),
      eos_token: end,
      // Nothing is padded here; who must, pads with the end.
      pad_token: end,
      bos_token_id: bos,
      eos_token_id: eos,
      vocab_size: info.vocabSize,
      model_max_length: info.contextLength,
      chat_template: chatTemplate,
    };
  },
});

export const tokenize = defineRoute({
  method: 'post',
  path: '/tokenize',
  id: 'tokenize',
  tag: 'Tokenizer',
  summary: 'The token ids of a text, as a completion reads it.',
  body: tokenizeRequest,
  reply: tokenizeReply,
  async handle({ body: { prompt, add_special_tokens: addsStart = false } }, { service }) {
    const { tokenizer, info } = service.knnlm.model;
    const named = [tokenizer.bos, tokenizer.eos, ...info.stopTokens];
    const special = named.find((id) => tokenizer.tokenText(id) === prompt);
    const ids = special === undefined ? await idsOf(prompt, service) : [special];
    const tokens = addsStart ? [tokenizer.bos, ...ids] : [...ids];
    return { tokens, count: tokens.length };
  },
});

async function idsOf(
  prompt: string,
  { knnlm, options }: Call['service'],
): Promise<readonly number[]> {
  return (await readPrompt(prompt, knnlm.model, options.promptTokens)).ids;
}

export const detokenize = defineRoute({
  method: 'post',
  path: '/detokenize',
  id: 'detokenize',
  tag: 'Tokenizer',
  summary: 'The text of token ids; special tokens are left out.',
  body: detokenizeRequest,
  reply: detokenizeReply,
  async handle({ body: { tokens } }, { service: { knnlm, options } }) {
    const { pieces } = await readPrompt(tokens, knnlm.model, options.promptTokens);
    return { prompt: pieces.join('') };
  },
});
