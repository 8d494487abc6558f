import yaml from "js-yaml";

/** YAML as the project writes it: no folded lines, no anchors, so that a diff shows what changed and nothing else. */
export function toYaml(value: unknown): string {
  return yaml.dump(value, { noRefs: true, lineWidth: -1 });
}
