/** Sliders that mix again at once, in the browser, from the neighbors already here. */
import { short } from '../state/format.ts';
import type { MixtureSettings } from '../state/mixture.ts';
import type { Draft } from '../state/settings.ts';

export interface WhatIfProps {
  settings: MixtureSettings;
  /** The store's own. */
  own: MixtureSettings;
  /** Weight of the neighbors in force here: with a gate it is this token's own. */
  lambda: number;
  /** Largest k. */
  most: number;
  onChange: (part: Draft) => void;
  onReset: () => void;
}

/** The gate takes the store's own k, and chooses the rest itself. */
const GATE_ALONE: Draft = { gate: true, k: undefined, lambda: undefined, temperature: undefined };
/** T is looked for this many doublings around the store's own. */
const DOUBLINGS = 6;

export function WhatIf({ settings, own, lambda, most, ...on }: WhatIfProps) {
  const isOwn =
    settings.k === own.k &&
    settings.lambda === own.lambda &&
    settings.temperature === own.temperature &&
    settings.gate === own.gate;
  const change = (part: Draft): void => on.onChange(own.gate ? { gate: false, ...part } : part);
  return (
    <section class="what-if" aria-label="What if">
      <h3 class="label">
        What if
        {!isOwn && (
          <button type="button" class="plain" onClick={on.onReset}>
            Back to the store’s settings
          </button>
        )}
      </h3>
      {own.gate && (
        <label class="check">
          <input
            type="checkbox"
            checked={settings.gate}
            onChange={(event) => change(event.currentTarget.checked ? GATE_ALONE : { gate: false })}
          />
          The gate decides how far to trust memory: λ = {short(lambda)} here
        </label>
      )}
      <Slider
        name="λ, weight of memory"
        isIdle={settings.gate}
        value={settings.gate ? lambda : settings.lambda}
        shown={settings.gate ? short(lambda) : settings.lambda.toFixed(2)}
        min={0}
        max={1}
        step={0.01}
        onInput={(value) => change({ lambda: value })}
      />
      <Slider
        name="T, how much farther neighbors count"
        isIdle={settings.gate}
        value={Math.log2(settings.temperature / own.temperature)}
        shown={settings.gate ? 'by the gate' : short(settings.temperature)}
        min={-DOUBLINGS}
        max={DOUBLINGS}
        step={0.1}
        onInput={(value) => change({ temperature: rounded(own.temperature * 2 ** value) })}
      />
      <Slider
        name="k, neighbors that vote"
        value={Math.log2(settings.k)}
        shown={String(settings.k)}
        min={0}
        max={Math.log2(most)}
        step={0.01}
        onInput={(value) => change({ k: Math.max(1, Math.min(most, Math.round(2 ** value))) })}
      />
    </section>
  );
}

interface SliderProps {
  name: string;
  value: number;
  /** The value in words. */
  shown: string;
  /** Something else decides; moving it takes over. */
  isIdle?: boolean;
  min: number;
  max: number;
  step: number;
  onInput: (value: number) => void;
}

/** The value stands in the label, and is no `output`: that would be what is labeled. */
function Slider({ name, shown, isIdle, onInput, ...range }: SliderProps) {
  return (
    <label class={`slider${isIdle ? ' is-idle' : ''}`}>
      <span>{name}</span>
      <b>{shown}</b>
      <input
        type="range"
        {...range}
        aria-valuetext={shown}
        onInput={(event) => onInput(Number(event.currentTarget.value))}
      />
    </label>
  );
}

const rounded = (value: number): number => Number(value.toPrecision(3));
