/** Bytes on disk by part, as one bar and its table. */
import type { StoreReply } from '../../../src/server/wire.ts';
import { bytes, percent } from '../state/format.ts';

const PARTS = [
  ['keys', 'Keys'],
  ['index', 'Index'],
  ['values', 'Values'],
  ['documents', 'Documents'],
  ['checksums', 'Checksums'],
  ['manifest', 'Manifest'],
] as const;

export function Size({ store }: { store: StoreReply }) {
  const parts = PARTS.filter(([name]) => store.bytes[name] > 0);
  return (
    <section class="card" aria-label="Size">
      <h2 class="label">Size</h2>
      <p class="large">{bytes(store.bytes.total)}</p>
      <div class="stacked" aria-hidden="true">
        {parts.map(([name]) => (
          <i key={name} class={`part-${name}`} style={{ flexGrow: store.bytes[name] }} />
        ))}
      </div>
      <table class="plain-table">
        <tbody>
          {parts.map(([name, title]) => (
            <tr key={name}>
              <th scope="row">
                <i class={`dot part-${name}`} aria-hidden="true" /> {title}
              </th>
              <td>{bytes(store.bytes[name])}</td>
              <td class="soft">{percent(store.bytes[name] / store.bytes.total)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
