/** Settings of retrieval: what the address asks for over what the store has. */
import type { InfoReply, RetrievalFields } from '../../../src/server/wire.ts';
import type { Inspection } from './inspection.ts';
import type { MixtureSettings } from './mixture.ts';

export type Draft = Partial<MixtureSettings>;

/** Of the first store, as the server does with several. */
export function ownSettings(info: InfoReply): MixtureSettings {
  const { k, lambda, temperature, gate } = info.stores[0]!.settings;
  return { k, lambda, temperature, gate: gate !== null };
}

/** What is in force. */
export function settingsOf(info: InfoReply, inspection: Draft): MixtureSettings {
  const own = ownSettings(info);
  return {
    k: inspection.k ?? own.k,
    lambda: Math.min(1, inspection.lambda ?? own.lambda),
    temperature: inspection.temperature || own.temperature,
    gate: (inspection.gate ?? !isChanged(inspection)) && own.gate,
  };
}

/** Whether λ, T or k are the inspection's own. */
export function isChanged({ k, lambda, temperature }: Draft): boolean {
  return k !== undefined || lambda !== undefined || temperature !== undefined;
}

/** The fields of a request that asks for what the inspection shows; the store's own settings are left to the server. */
export function retrievalFields(
  info: InfoReply,
  inspection: Pick<Inspection, 'k' | 'lambda' | 'temperature' | 'gate' | 'exclude'>,
): RetrievalFields {
  const exclude = inspection.exclude ?? [];
  const fields: RetrievalFields = exclude.length > 0 ? { exclude_documents: exclude } : {};
  const { k, lambda, temperature, gate } = settingsOf(info, inspection);
  if (gate || (!isChanged(inspection) && inspection.gate === undefined)) return fields;
  return { ...fields, k, lambda, temperature, gate: false };
}
