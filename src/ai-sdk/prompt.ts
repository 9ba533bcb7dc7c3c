/** The AI SDK's prompt as the model reads it: by its chat template, or, for a model that continues texts, as that text. */
import type { LanguageModelV3Message, LanguageModelV3Prompt } from '@ai-sdk/provider';
import { KnnLMError } from '../errors.ts';
import type { ChatMessage } from '../model/chat-template.ts';
import type { LanguageModel } from '../model/language-model.ts';

/** Errors: `INVALID_ARGUMENT` for what is no text, and for turns with a model that knows none. */
export async function readPrompt(
  prompt: LanguageModelV3Prompt,
  model: LanguageModel,
): Promise<Int32Array> {
  const messages = prompt.map(plainMessage);
  if (model.chatTemplate !== undefined) return await model.encodeChat(messages);
  const [only] = messages;
  if (messages.length === 1 && only?.role === 'user') {
    return (await model.encodeDocuments([only.content]))[0]!;
  }
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `The model has no chat template: it continues a text and does not know turns, but there are ${messages.length} messages (${messages.map(({ role }) => role).join(', ')}). Give it one text as "prompt", without "system", or use a model made for chat.`,
  );
}

function plainMessage(message: LanguageModelV3Message): ChatMessage {
  const { role, content } = message;
  if (role === 'system') return { role, content };
  if (role === 'tool') throw notText('tool');
  const texts = content.map((part) => {
    // What the model thought is not said again.
    if (part.type === 'reasoning') return '';
    if (part.type !== 'text') throw notText(part.type);
    return part.text;
  });
  return { role, content: texts.join('') };
}

const notText = (what: string): KnnLMError =>
  new KnnLMError(
    'INVALID_ARGUMENT',
    `Messages must be text; a ${what} part cannot be read. Leave it out.`,
  );
