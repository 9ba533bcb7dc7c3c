/** How the store is searched, and what was measured of it. */
import type { StoreReply } from '../../../src/server/wire.ts';
import { count, percent, short } from '../state/format.ts';

export function Quality({ store: { index, entries } }: { store: StoreReply }) {
  const rows: [string, string][] = [];
  if (index.recall !== null) rows.push(['True neighbors found', percent(index.recall)]);
  if (index.error !== null)
    rows.push(['Mixture moved by what is missed', `${short(index.error)} nats`]);
  if (index.lists !== null) {
    const probes = index.probes === null ? '' : `, ${count(index.probes)} read per search`;
    rows.push(['Lists', `${count(index.lists)}${probes}`]);
  }
  if (index.indexed !== null) {
    rows.push(['Indexed', `${count(index.indexed)} of ${count(entries)} contexts`]);
  }
  return (
    <section class="card" aria-label="Index">
      <h2 class="label">Index</h2>
      <p class="large">{index.kind === 'flat' ? 'Exact search' : 'Inverted file'}</p>
      {index.kind === 'flat' && (
        <p class="soft">
          Every key is compared with the query, and a bound on rounding certifies the result:
          nothing is missed.
        </p>
      )}
      <table class="plain-table">
        <tbody>
          {rows.map(([name, value]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{value}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
