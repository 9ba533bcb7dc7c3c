/** Ways to damage the files of a store: a bit, a byte, a run of bytes, the length; in the manifest and in headers also a field. */
import { crc32 } from 'node:zlib';

const VALUES = [
  null,
  -1,
  0,
  1,
  2 ** 31,
  2 ** 53,
  1e300,
  0.5,
  '',
  '../..',
  'x',
  [],
  {},
  [[0, 5]],
  true,
];

/** What to do is drawn from a seed, so that a run can be repeated. */
export function makeMutator(seed) {
  let state = seed;
  const below = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const oneOf = (list) => list[below(list.length)];

  /** One field of an object, however deep, is another or gone. */
  function withOtherField(root) {
    let parent = root;
    for (;;) {
      const key = oneOf(Object.keys(parent));
      const inner = parent[key];
      const isParent = typeof inner === 'object' && inner !== null && Object.keys(inner).length > 0;
      if (isParent && below(4) > 0) {
        parent = inner;
        continue;
      }
      if (below(6) === 0) delete parent[key];
      else parent[key] = oneOf(VALUES);
      return root;
    }
  }

  /** The manifest with its checksum gone, made right, or wrong. */
  function changedManifest(bytes) {
    const { checksum: _, ...manifest } = JSON.parse(bytes.toString());
    const text = JSON.stringify(withOtherField(manifest), null, 2).slice(0, -2);
    const checksum = (crc32(text) + below(2)).toString(16).padStart(8, '0');
    return below(2) === 0 ? `${text}\n}\n` : `${text},\n  "checksum": "${checksum}"\n}\n`;
  }

  /** A header of an index, or a watcher's note, with its checksum made right or wrong. */
  function changedHeader(bytes) {
    const { crc32: _, ...rest } = JSON.parse(bytes.toString());
    const [[name, value], ...others] = Object.entries(rest).reverse();
    const changed = withOtherField(value);
    const sum = crc32(JSON.stringify(changed)) + (below(4) === 0 ? 1 : 0);
    return JSON.stringify({ ...Object.fromEntries(others), crc32: sum, [name]: changed });
  }

  const CHANGED_BY_FIELD = {
    'manifest.json': changedManifest,
    'index/ivf.json': changedHeader,
    'index/milvus.json': changedHeader,
    'watch.json': changedHeader,
  };

  /** @returns a damaged copy of some bytes */
  function damaged(bytes) {
    const out = Buffer.from(bytes);
    const at = below(bytes.length);
    switch (below(6)) {
      case 0:
        out[at] ^= 1 << below(8);
        return out;
      case 1:
        out[at] = below(256);
        return out;
      case 2:
        return out.subarray(0, at);
      case 3:
        return Buffer.concat([out, Buffer.from(out.subarray(at, at + 1 + below(20)))]);
      case 4:
        return Buffer.concat([
          out.subarray(0, at),
          out.subarray(Math.min(out.length, at + 1 + below(20))),
        ]);
      default:
        for (let i = at; i < Math.min(out.length, at + 1 + below(30)); i++) out[i] = below(256);
        return out;
    }
  }

  return { below, oneOf, damaged, CHANGED_BY_FIELD };
}
