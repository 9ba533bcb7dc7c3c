/** Messages as one text, by the template that came with the model. The one file that knows @huggingface/jinja. */
import { KnnLMError } from '../errors.ts';
import { chooseGuard, guardSpecialTokens } from './special-tokens.ts';
import type { AddedToken } from './token-table.ts';

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
  name?: string;
}

/** What rendering needs of a model folder. */
export interface ChatFiles {
  template: string | undefined;
  /** tokenizer_config.json: templates name its special tokens. */
  tokenizerConfig: Record<string, unknown>;
  added: readonly AddedToken[];
}

/**
 * @returns the text up to where the assistant speaks, and what breaks special tokens in messages (`special-tokens.ts`)
 * Errors: `INVALID_ARGUMENT` without a template, or with the template's own reason for refusing the messages.
 */
export async function renderChat(
  messages: readonly ChatMessage[],
  { template, tokenizerConfig, added }: ChatFiles,
): Promise<{ text: string; guard: string }> {
  if (template === undefined) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'The model has no chat template: it continues texts and does not know turns. Ask it for a completion, or use a model made for chat.',
    );
  }
  const guard = chooseGuard(messages.flatMap(({ content, name = '' }) => [content, name]));
  if (guard === undefined) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'The messages hold all 32 noncharacters from U+FDD0 on. Leave one out.',
    );
  }
  const guarded = messages.map(({ role, content, name }) => ({
    role,
    content: guardSpecialTokens(content, added, guard),
    ...(name !== undefined && { name: guardSpecialTokens(name, added, guard) }),
  }));
  const { Template } = await import('@huggingface/jinja');
  try {
    const values = {
      ...namedTokens(tokenizerConfig),
      messages: guarded,
      add_generation_prompt: true,
    };
    return { text: new Template(template).render(values), guard };
  } catch (cause) {
    const reason = (cause instanceof Error ? cause.message : String(cause)).replace(/\s+/g, ' ');
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The model's chat template does not take these messages: ${reason.replaceAll(guard, '').replace(/\.$/, '')}.`,
      { cause },
    );
  }
}

/** `bos_token`, `eos_token` and their like, by their texts. */
function namedTokens(tokenizerConfig: Record<string, unknown>): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(tokenizerConfig)) {
    if (!name.endsWith('_token')) continue;
    const content =
      typeof value === 'string' ? value : (value as { content?: unknown } | null)?.content;
    if (typeof content === 'string') tokens[name] = content;
  }
  return tokens;
}

/** The template of tokenizer_config.json: a text, or one among several by name. */
export function configuredTemplate(tokenizerConfig: Record<string, unknown>): string | undefined {
  const { chat_template: given } = tokenizerConfig;
  if (typeof given === 'string') return given;
  if (!Array.isArray(given)) return undefined;
  const named = given as { name?: unknown; template?: unknown }[];
  const chosen = named.find(({ name }) => name === 'default') ?? named[0];
  return typeof chosen?.template === 'string' ? chosen.template : undefined;
}
