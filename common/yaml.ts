import yaml from "js-yaml";

/**
 * Formats a value as YAML without folded lines or anchors, so that a diff shows only the changes.
 */
export function toYaml(value: unknown): string {
  return yaml.dump(value, { noRefs: true, lineWidth: -1 });
}

/** An integer that begins with a zero. Pulumi reads 0123 as octal 83, and YAML 1.2 as 123. */
export const ZEROED_INTEGER = Symbol("integer that begins with a zero");

const ZEROED = /^[-+]?0[0-9_]+$/;
const integers = new yaml.Type("tag:yaml.org,2002:int", {
  kind: "scalar",
  resolve: (text: string) => /^[-+]?[0-9][0-9a-fobx_]*$/i.test(text),
  construct: (text: string) => (ZEROED.test(text) ? ZEROED_INTEGER : yaml.load(text)),
});
const schema = yaml.DEFAULT_SCHEMA.extend({ implicit: [integers] });

/**
 * Parses a YAML document of which Pulumi also reads the text.
 * @throws YAMLException if the text is not one YAML document
 */
export function parseYaml(text: string): unknown {
  return yaml.load(text, { schema });
}
