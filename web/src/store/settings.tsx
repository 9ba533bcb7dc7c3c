/** The store's settings, and the tuning they rest on. */
import type { StoreReply } from '../../../src/server/wire.ts';
import { count, short } from '../state/format.ts';
import { readEvidence } from './evidence.ts';
import { TuningCurve } from './tuning-curve.tsx';

const SOURCES = {
  default: 'The paper’s settings: nobody has tuned this store.',
  given: 'Given by hand.',
  'self-tuned': 'Found on its own documents, each searched with itself left out.',
  tuned: 'Found on held-out text.',
};

const CURVES = [
  ['lambda', 'λ, weight of memory'],
  ['temperature', 'T, temperature'],
  ['k', 'k, neighbors'],
] as const;

export function Settings({ store: { settings } }: { store: StoreReply }) {
  const evidence = readEvidence(settings.evidence);
  return (
    <section class="card is-wide" aria-label="Settings">
      <h2 class="label">Settings</h2>
      <p class="large">
        {settings.gate ? 'A gate' : `λ ${short(settings.lambda)}`}, T {short(settings.temperature)},
        k {count(settings.k)}
      </p>
      <p class="soft">
        {SOURCES[settings.source]}
        {settings.gate &&
          ` The gate reads the distances and how far neighbors agree, and chooses a weight for every token among ${settings.gate.temperatures.length} temperatures.`}
      </p>
      {evidence && (
        <dl class="figures">
          <div>
            <dt>Perplexity of the model alone</dt>
            <dd>{short(evidence.lm)}</dd>
          </div>
          <div>
            <dt>With memory</dt>
            <dd>{short(evidence.knnlm)}</dd>
          </div>
          {evidence.gate !== undefined && (
            <div>
              <dt>With the gate</dt>
              <dd>{short(evidence.gate)}</dd>
            </div>
          )}
          {evidence.tokens !== undefined && (
            <div>
              <dt>Measured on</dt>
              <dd>{count(evidence.tokens)} tokens</dd>
            </div>
          )}
        </dl>
      )}
      {evidence && (
        <div class="curves">
          {CURVES.map(([name, title]) => {
            const points = evidence.curves[name];
            return (
              points && (
                <TuningCurve
                  key={name}
                  title={title}
                  points={points}
                  chosen={settings[name]}
                  alone={evidence.lm}
                  isLogarithmic={name !== 'lambda'}
                />
              )
            );
          })}
        </div>
      )}
      {evidence?.curves.lambda && (
        <p class="soft">
          Perplexity along each setting{settings.gate && ', without the gate'}, lower is better. The
          ring is what was chosen, the dashed line the model alone.
        </p>
      )}
    </section>
  );
}
