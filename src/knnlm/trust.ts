/**
 * Whether the memory is of use for the text being read, learned from the text itself.
 *
 * Neighbors that look near can be wrong throughout when a text has nothing to do with the store, and no single query
 * shows it. So the mixture and the model alone are two experts whose weights follow Bayes' rule after every target (with
 * a small share of forgetting, "fixed share", Herbster & Warmuth 1998). Every probability is given before its target is
 * seen, and it is a proper distribution. A text on which the store is useless costs log 1 / (1 - PRIOR) = 1.6 nats in
 * all and FORGETTING · PRIOR = 0.0008 per target at most; one on which it helps, log 1 / PRIOR = 0.2 and 0.0002.
 */
import { logAddExp } from '../math/log-space.ts';

const PRIOR = 0.8;
/** Share that returns to the prior at every target: a text may turn to what the store knows. */
const FORGETTING = 0.001;

export class Trust {
  /** Probability that the memory is of use, before the next target. */
  share = PRIOR;

  /**
   * @param mixture log p of the target under the mixture
   * @param lm log p of the target under the model
   * @returns log p of the target under both experts; then learns from it
   */
  next(mixture: number, lm: number): number {
    const withMemory = Math.log(this.share) + mixture;
    const logProb = logAddExp(withMemory, Math.log1p(-this.share) + lm);
    this.share = (1 - FORGETTING) * Math.exp(withMemory - logProb) + FORGETTING * PRIOR;
    return logProb;
  }
}
