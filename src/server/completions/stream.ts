/** A request's choices as one stream of events, each as soon as it has something to tell. */
import type { Usage } from '../wire.ts';
import type { FinishReason, ToldToken } from './choice.ts';
import { generated } from './choice.ts';
import { merge } from './merge.ts';
import type { PlannedChoice, PlannedRequest, ReplyHead } from './request.ts';

export interface StreamParts<Kind extends string, Choice> {
  object: Kind;
  /** A last event tells what was counted. */
  includesUsage: boolean;
  /** What is told of one choice. */
  tell: (
    choice: PlannedChoice,
    tokens: AsyncGenerator<ToldToken, FinishReason>,
  ) => AsyncIterable<Choice>;
}

export type StreamEvent<Kind extends string, Choice> = ReplyHead & {
  object: Kind;
  choices: Choice[];
  usage?: Usage | null;
};

export async function* streamAll<Kind extends string, Choice>(
  request: PlannedRequest,
  { object, includesUsage, tell }: StreamParts<Kind, Choice>,
): AsyncGenerator<StreamEvent<Kind, Choice>> {
  let completionTokens = 0;
  async function* counted({ run }: PlannedChoice): AsyncGenerator<ToldToken, FinishReason> {
    const tokens = run();
    try {
      let step = await tokens.next();
      for (; !step.done; step = await tokens.next()) {
        completionTokens += generated([step.value]);
        yield step.value;
      }
      return step.value;
    } finally {
      await tokens.return('stop');
    }
  }
  const head = { ...request.head, object };
  const streams = request.choices.map((choice) => tell(choice, counted(choice)));
  for await (const choice of merge(streams)) {
    yield { ...head, choices: [choice], ...(includesUsage && { usage: null }) };
  }
  if (includesUsage) yield { ...head, choices: [], usage: request.usage(completionTokens) };
}
