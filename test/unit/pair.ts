/**
 * Returns the sample's pair as text of the key `services`, each with further keys in YAML's flow
 * form, such as `replicas: 3, timeout: 5s`.
 */
export function pair(given: { readonly provider?: string; readonly consumer?: string } = {}): string {
  const entry = (app: "provider" | "consumer"): string =>
    `{app: ${app}${given[app] === undefined ? "" : `, ${given[app]}`}}`;
  return `[${entry("provider")}, ${entry("consumer")}]`;
}
