import yaml from "js-yaml";

/**
 * Formats a value as YAML without folded lines or anchors, so that a diff shows only the changes.
 */
export function toYaml(value: unknown): string {
  return yaml.dump(value, { noRefs: true, lineWidth: -1 });
}
