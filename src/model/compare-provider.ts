/** How far an execution provider's keys lie from the CPU's: the same text through both. Runs in a worker. */
import { ModelRuntime } from './model-runtime.ts';
import { probes, relativeDifference } from './self-check.ts';
import type { RuntimePlan } from './worker-protocol.ts';

/** @returns largest ‖difference‖ / ‖key‖ of any position. Errors: those of making a session, and of the self-check */
export async function compareProvider(plan: RuntimePlan): Promise<number> {
  const { text } = probes(plan);
  const [own, reference] = [
    await keysOf(plan, text),
    await keysOf({ ...plan, provider: 'cpu' }, text),
  ];
  return relativeDifference(reference, own, { positions: text.length });
}

async function keysOf(plan: RuntimePlan, text: Int32Array): Promise<Float32Array> {
  const runtime = await ModelRuntime.open(plan);
  try {
    const [keys] = await runtime.keys([text]);
    return keys!;
  } finally {
    await runtime.close();
  }
}
