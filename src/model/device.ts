/**
 * Where a model runs: the CPU, or what onnxruntime offers beside it (its execution providers).
 *
 * Another provider rounds otherwise and has kernels of its own, so its keys are compared with the CPU's on a probe text before
 * it is used: a store it makes can then be searched from the CPU, and the other way round.
 */
import { KnnLMError } from '../errors.ts';

export const DEVICES = ['cpu', 'webgpu', 'cuda', 'coreml', 'dml', 'auto'] as const;
export type Device = (typeof DEVICES)[number];
/** An execution provider's name in onnxruntime. */
export type Provider = Exclude<Device, 'auto'>;

/** ‖difference‖ / ‖key‖ that the keys of a probe text may have from the CPU's. GPUs multiply in 10 to 11 bits of mantissa by default. */
const MOST_DIFFERENCE = 1e-2;

export interface ProviderChoice {
  provider: Provider;
  /** What was tried and not used, one sentence each. */
  notes: string[];
}

/**
 * The first provider that works and gives the CPU's keys.
 * @param compare largest relative difference of keys from the CPU's; throws where the provider is not present
 */
export async function chooseProvider(
  device: Device,
  compare: (provider: Provider) => Promise<number>,
): Promise<ProviderChoice> {
  const notes: string[] = [];
  for (const provider of candidatesFor(device)) {
    if (provider === 'cpu') break;
    try {
      const difference = await compare(provider);
      if (difference <= MOST_DIFFERENCE) return { provider, notes };
      notes.push(
        `${provider} gives other keys than the CPU (by ${(100 * difference).toPrecision(2)}%) and is not used.`,
      );
    } catch (error) {
      if (error instanceof KnnLMError && error.code === 'ABORTED') throw error;
      const reason = error instanceof Error ? error.message.split('\n')[0]! : String(error);
      notes.push(`${provider} cannot be used here: ${reason}`);
    }
  }
  if (device !== 'cpu') notes.push('The model runs on the CPU.');
  return { provider: 'cpu', notes };
}

/** Fastest first. */
function candidatesFor(device: Device): readonly Provider[] {
  if (device !== 'auto') return [device];
  if (process.platform === 'darwin') return ['coreml', 'webgpu'];
  if (process.platform === 'win32') return ['dml', 'webgpu'];
  return ['cuda', 'webgpu'];
}
