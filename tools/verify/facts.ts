/** Facts about a configuration in words, by subject. */
export type Facts = Readonly<Record<string, string>>;

/** A subject with different values. */
export interface Difference {
  readonly subject: string;
  /** Live value; `none` if the subject is missing. */
  readonly seen: string;
  /** Configured value; `none` if the stack has no such subject. */
  readonly expected: string;
}

const NONE = "none";

/** Returns the subjects whose live value is not the configured one. */
export function differences(expected: Facts, seen: Facts): Difference[] {
  const subjects = [...new Set([...Object.keys(expected), ...Object.keys(seen)])];
  return subjects.flatMap((subject) => {
    const [wanted = NONE, found = NONE] = [expected[subject], seen[subject]];
    return wanted === found ? [] : [{ subject, seen: found, expected: wanted }];
  });
}

const DURATION = /^\d+(\.\d+)?s$/;

/** Returns the text of a scalar; empty for Envoy's defaults, which its dumps omit. */
function scalarText(value: string | number | boolean): string {
  const text =
    typeof value === "string" && DURATION.test(value) ? `${Number(value.slice(0, -1))}s` : `${value}`;
  return ["0", "0s", "false"].includes(text) ? "" : text;
}

/**
 * Returns the leaves of a protobuf message in JSON, by path. Durations have one form, numbers are
 * text, and defaults are left out.
 */
export function leaves(value: unknown, path = ""): Facts {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
    const text = scalarText(value);
    return text === "" ? {} : { [path]: text };
  }
  if (typeof value !== "object" || value === null) return {};
  const inside = Object.entries(value).map(([key, item]: [string, unknown]) =>
    leaves(item, path === "" ? key : `${path}.${key}`),
  );
  return Object.assign({}, ...inside) as Facts;
}
