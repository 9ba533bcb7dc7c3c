/** The state of an inspection as the fragment of the address, so that a link opens what was looked at. */

export const VIEWS = ['write', 'score', 'documents', 'store'] as const;
export type View = (typeof VIEWS)[number];

export interface Inspection {
  view: View;
  /** Text of the prompt before anything was written. */
  prompt?: string;
  /** Token ids of prompt and completion. */
  ids?: number[];
  /** How many of them are the prompt's. */
  prompted?: number;
  /** The token looked at. */
  at?: number;
  /** Beside what was written, what the model would have written without memory. */
  alone?: true;
  /** Settings that differ from the store's own. */
  k?: number;
  lambda?: number;
  temperature?: number;
  gate?: boolean;
  /** Documents left out. */
  exclude?: string[];
  /** The text that is scored. */
  text?: string;
  /** Of the documents: what was searched for, the one opened and where. */
  query?: string;
  document?: string;
  store?: string;
  position?: number;
  /** What colors the map. */
  color?: 'document' | 'target';
  /** A context whose place the map shows; or `ids`. */
  context?: string;
}

const TEXTS = ['prompt', 'text', 'query', 'document', 'store', 'context'] as const;
const COUNTS = ['prompted', 'at', 'k', 'position'] as const;
const NUMBERS = ['lambda', 'temperature'] as const;

/** `#/write?…`; what is undefined or empty is left out. Token ids are in base 36, joined by periods. */
export function toFragment(inspection: Inspection): string {
  const fields = new URLSearchParams();
  for (const name of TEXTS) if (inspection[name]) fields.set(name, inspection[name]);
  if (inspection.ids?.length)
    fields.set('ids', inspection.ids.map((id) => id.toString(36)).join('.'));
  for (const name of [...COUNTS, ...NUMBERS]) {
    if (inspection[name] !== undefined) fields.set(name, String(inspection[name]));
  }
  if (inspection.gate !== undefined) fields.set('gate', inspection.gate ? '1' : '0');
  if (inspection.alone) fields.set('alone', '1');
  if (inspection.color) fields.set('color', inspection.color);
  for (const document of inspection.exclude ?? []) fields.append('exclude', document);
  const query = fields.toString();
  return `#/${inspection.view}${query ? `?${query}` : ''}`;
}

/** Anything that cannot be read is left out: an address is user input. */
export function fromFragment(fragment: string): Inspection {
  const [, name, query] = /^#?\/?([a-z]*)(?:\?(.*))?$/s.exec(fragment) ?? [];
  const inspection: Inspection = { view: VIEWS.find((view) => view === name) ?? 'write' };
  const fields = new URLSearchParams(query ?? '');
  for (const key of TEXTS) if (fields.get(key)) inspection[key] = fields.get(key)!;
  for (const key of COUNTS) {
    const value = Number(fields.get(key) ?? Number.NaN);
    if (Number.isSafeInteger(value) && value >= 0) inspection[key] = value;
  }
  for (const key of NUMBERS) {
    const value = Number.parseFloat(fields.get(key) ?? '');
    if (Number.isFinite(value) && value >= 0) inspection[key] = value;
  }
  const ids = (fields.get('ids') ?? '').split('.');
  if (ids.every((id) => /^[0-9a-z]{1,9}$/.test(id))) {
    inspection.ids = ids.map((id) => Number.parseInt(id, 36));
  }
  const gate = fields.get('gate');
  if (gate === '0' || gate === '1') inspection.gate = gate === '1';
  if (fields.get('alone') === '1') inspection.alone = true;
  const color = fields.get('color');
  if (color === 'document' || color === 'target') inspection.color = color;
  if (fields.has('exclude')) inspection.exclude = fields.getAll('exclude').filter(Boolean);
  return inspection;
}
