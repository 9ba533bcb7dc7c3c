/** What memory holds for the held-out text of a domain, retrieved once and kept in a folder: several benchmarks read it again. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readDocuments } from '../dist/index.js';
import { collectNeighbors } from '../dist/knnlm/collect-neighbors.js';
import { readTokens } from '../dist/knnlm/read-tokens.js';
import { TuningWindows } from '../dist/knnlm/tuning-windows.js';

/** Documents of a split, the long ones cut so that together they give about so many tokens. */
export async function heldOut(file, { tokens, most, model }) {
  const texts = [];
  for await (const { id, text, source } of readDocuments([file])) {
    const { inputs, targets } = await readTokens({ text }, model);
    texts.push({ id, text, source, inputs, targets });
    if (texts.length === most) break;
  }
  let low = 1;
  let high = 1e6;
  const total = (cap) => texts.reduce((sum, { targets }) => sum + Math.min(cap, targets.length), 0);
  while (low < high) {
    const middle = (low + high) >> 1;
    if (total(middle) >= tokens) high = middle;
    else low = middle + 1;
  }
  return texts.map(({ id, text, source, inputs, targets }) => {
    if (targets.length <= low) return { id, text, source, inputs, targets };
    return {
      id,
      source,
      // As text too, for those who read it token by token.
      text: model.tokenizer.decode(targets.subarray(0, low)),
      inputs: inputs.slice(0, low),
      targets: targets.slice(0, low),
    };
  });
}

const arraysOf = ({ neighbors, evidence }) => ({
  'neighbors.lm': neighbors.lm,
  'neighbors.distances': neighbors.distances,
  'neighbors.matches': neighbors.matches,
  'neighbors.units': neighbors.units,
  'evidence.rows': evidence.rows,
  'evidence.lanes': evidence.lanes,
  'evidence.best': evidence.best,
  'evidence.targets': evidence.targets,
  'evidence.groups': evidence.groups,
  'pointers.counts': evidence.pointers.counts,
  'pointers.distances': evidence.pointers.distances,
  'pointers.groups': evidence.pointers.groups,
  'pointers.histories': evidence.pointers.histories,
  'pointers.places': evidence.pointers.places,
  'cached.counts': evidence.cached.counts,
  'cached.distances': evidence.cached.distances,
  'cached.groups': evidence.cached.groups,
});
const TYPES = { Float32Array, Uint8Array, Int32Array, Uint16Array, Uint32Array };

/** Tables of the documents' every target; units are documents. Kept in `folder`, and taken from there when they are there. */
export async function collected(folder, memory, documents, { k = 1024 } = {}) {
  const index = join(folder, 'tables.json');
  if (existsSync(index)) return readTables(folder);
  const windows = new TuningWindows(memory.datastore.header, Number.POSITIVE_INFINITY);
  for (const { inputs, targets } of documents) windows.add({ inputs, targets });
  const started = performance.now();
  const tables = await collectNeighbors(windows.take(), memory, {
    k,
    unitIsDocument: true,
    withEvidence: true,
    mostEvidence: Number.POSITIVE_INFINITY,
    phase: 'retrieving',
    onProgress: ({ done, total }) =>
      process.stderr.write(
        `\r${done} of ${total} in ${Math.round((performance.now() - started) / 1000)} s `,
      ),
  });
  mkdirSync(folder, { recursive: true });
  const parts = {};
  for (const [name, array] of Object.entries(arraysOf(tables))) {
    parts[name] = array.constructor.name;
    writeFileSync(
      join(folder, name),
      new Uint8Array(array.buffer, array.byteOffset, array.byteLength),
    );
  }
  const { neighbors, evidence } = tables;
  const sizes = {
    targets: neighbors.targets,
    k: neighbors.k,
    pointers: evidence.pointers.room,
    cached: evidence.cached.room,
  };
  writeFileSync(index, JSON.stringify({ sizes, parts }));
  return tables;
}

export function readTables(folder) {
  const { sizes, parts } = JSON.parse(readFileSync(join(folder, 'tables.json'), 'utf8'));
  const array = (name) => {
    const bytes = readFileSync(join(folder, name));
    const shared = new SharedArrayBuffer(bytes.length);
    new Uint8Array(shared).set(bytes);
    return new TYPES[parts[name]](shared);
  };
  const part = (prefix, names) =>
    Object.fromEntries(names.map((name) => [name, array(`${prefix}.${name}`)]));
  const { targets, k } = sizes;
  return {
    neighbors: { targets, k, ...part('neighbors', ['lm', 'distances', 'matches', 'units']) },
    evidence: {
      k,
      ...part('evidence', ['rows', 'lanes', 'best', 'targets', 'groups']),
      pointers: {
        room: sizes.pointers,
        ...part('pointers', ['counts', 'distances', 'groups', 'histories', 'places']),
      },
      cached: { room: sizes.cached, ...part('cached', ['counts', 'distances', 'groups']) },
    },
  };
}

/** The targets of some units, which are numbered anew. */
export function ofUnits({ neighbors, evidence }, isWanted) {
  const numbers = new Map();
  for (const unit of neighbors.units) {
    if (isWanted(unit) && !numbers.has(unit)) numbers.set(unit, numbers.size);
  }
  const rows = [...neighbors.units.keys()].filter((row) => numbers.has(neighbors.units[row]));
  const places = new Map(rows.map((row, at) => [row, at]));
  const ats = [...evidence.rows.keys()].filter((at) => places.has(evidence.rows[at]));
  /** Rows of a table with so many numbers each, into shared memory. */
  const pick = (array, width, chosen) => {
    const bytes = chosen.length * width * array.BYTES_PER_ELEMENT;
    const out = new array.constructor(new SharedArrayBuffer(bytes));
    for (const [i, row] of chosen.entries())
      out.set(array.subarray(row * width, (row + 1) * width), i * width);
    return out;
  };
  const voters = ({ room, counts, ...arrays }) => ({
    room,
    counts: pick(counts, 1, ats),
    ...Object.fromEntries(
      Object.entries(arrays).map(([name, array]) => [name, pick(array, room, ats)]),
    ),
  });
  const { k } = neighbors;
  return {
    neighbors: {
      targets: rows.length,
      k,
      lm: pick(neighbors.lm, 1, rows),
      distances: pick(neighbors.distances, k, rows),
      matches: pick(neighbors.matches, Math.ceil(k / 8), rows),
      units: pick(neighbors.units, 1, rows).map((unit) => numbers.get(unit)),
    },
    evidence: {
      k: evidence.k,
      rows: Int32Array.from(ats, (at) => places.get(evidence.rows[at])),
      lanes: pick(evidence.lanes, 1, ats),
      best: pick(evidence.best, 1, ats),
      targets: pick(evidence.targets, 1, ats),
      groups: pick(evidence.groups, evidence.k, ats),
      pointers: voters(evidence.pointers),
      cached: voters(evidence.cached),
    },
  };
}
