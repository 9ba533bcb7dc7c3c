/** How far memory moved a token, as steps of the picture: a tint by log p - log p_LM, a line by the evidence. */

/**
 * Nats at which the three steps of the tint begin: a factor of 1.5, 3 and 10 in probability. The first lies above what
 * every token without a vote loses to the paper's λ (a factor of 1.33): that is no news of the token.
 */
const STEPS = [Math.log(1.5), Math.log(3), Math.log(10)] as const;
/** Shares of a token's probability from which on the line is one, two and three pixels thick. */
const EVIDENCE = [0.2, 0.5, 0.8] as const;

export type Step = -3 | -2 | -1 | 0 | 1 | 2 | 3;

/** Signed step of a difference of log-probabilities; above 0 memory raised the probability. */
export function movedStep(difference: number): Step {
  const size = Math.abs(difference);
  const steps = STEPS.filter((least) => size >= least).length;
  return (difference < 0 ? -steps || 0 : steps) as Step;
}

/** log p - log p_LM of probabilities; finite whatever they are. */
export function logRatio(p: number, pLm: number): number {
  return Math.log(Math.max(p, 1e-30)) - Math.log(Math.max(pLm, 1e-30));
}

export function evidenceStep(share: number): 0 | 1 | 2 | 3 {
  return EVIDENCE.filter((least) => share >= least).length as 0 | 1 | 2 | 3;
}

/** What a screen reader says and a tooltip shows. */
export function movedInWords(difference: number): string {
  const factor = Math.exp(Math.abs(difference));
  if (movedStep(difference) === 0) return 'memory left it as it was';
  const times = factor >= 100 ? 'over 100' : factor >= 10 ? factor.toFixed(0) : factor.toFixed(1);
  return `memory made it ${times} times ${difference > 0 ? 'likelier' : 'less likely'}`;
}
