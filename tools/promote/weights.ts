import type { Weights } from "../../stack/weights.ts";

/**
 * Returns the weights of a step. The other versions share the rest in proportion to their weights
 * before the promotion, in whole percent.
 * @param from weights before the promotion
 */
export function weightsAt(weight: number, version: string, from: Weights): Weights {
  const rest = 100 - weight;
  const others = Object.entries(from).filter(([name]) => name !== version);
  const sum = others.reduce((total, [, share]) => total + share, 0);
  const exact = others.map(([name, share]) => [name, (rest * share) / sum] as const);
  const missing = rest - exact.reduce((total, [, share]) => total + Math.floor(share), 0);
  // Rounding down leaves some percent. The largest fractions get them.
  const byFraction = [...exact].sort(([, a], [, b]) => (b % 1) - (a % 1)).map(([name]) => name);
  const raised = new Set(byFraction.slice(0, missing));
  const shares = new Map(
    exact.map(([name, share]) => [name, Math.floor(share) + (raised.has(name) ? 1 : 0)]),
  );
  return Object.fromEntries(Object.keys(from).map((name) => [name, shares.get(name) ?? weight]));
}
