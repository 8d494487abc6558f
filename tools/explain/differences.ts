import type { Declared } from "../engine/program.ts";

/** A field whose value differs with another setting. */
export interface Difference {
  /** Kind and name of the Kubernetes object, or `output`, or `image` and the service's name. */
  readonly object: string;
  /**
   * Path in the object; named list items appear by name. Empty if the whole object is added or
   * removed.
   */
  readonly path: string;
  /** Current value; undefined if there is none. */
  readonly before: unknown;
  /** Value with the other setting; undefined if there is none. */
  readonly after: unknown;
}

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Returns the items of a list by name if all have a unique name, else by index. */
function items(list: readonly unknown[]): Fields {
  const names = list.map((item) => (isFields(item) ? item["name"] : undefined));
  const named = names.every((name) => typeof name === "string") && new Set(names).size === list.length;
  return Object.fromEntries(list.map((item, index) => [`[${named ? String(names[index]) : index}]`, item]));
}

/** Returns the parts of a value by their path steps, or undefined for a scalar. */
function childrenOf(value: unknown): Fields | undefined {
  if (Array.isArray(value)) return items(value);
  if (!isFields(value)) return undefined;
  const step = (name: string): string => (/^[\w-]+$/.test(name) ? `.${name}` : `[${JSON.stringify(name)}]`);
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [step(name), field]));
}

function valueDifferences(object: string, path: string, before: unknown, after: unknown): Difference[] {
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  const [old, now] = [childrenOf(before), childrenOf(after)];
  if (old === undefined || now === undefined) {
    return [{ object, path: path.replace(/^\./, ""), before, after }];
  }
  const steps = new Set([...Object.keys(old), ...Object.keys(now)]);
  return [...steps].flatMap((step) => valueDifferences(object, `${path}${step}`, old[step], now[step]));
}

function byName({ objects, images, outputs }: Declared): Map<string, unknown> {
  return new Map<string, unknown>([
    ...objects.map((object) => [`${object.kind} ${object.metadata.name}`, object] as const),
    ...images.map(
      (image) => [`image ${/[^/]+(?=:[^:]+$)/.exec(image.reference)?.[0] ?? ""}`, image] as const,
    ),
    ...Object.entries(outputs).map(([name, value]) => [`output ${name}`, value] as const),
  ]);
}

/** Returns the differences between two sets of declarations, ordered by object. */
export function differences(before: Declared, after: Declared): Difference[] {
  const [old, now] = [byName(before), byName(after)];
  const names = new Set([...old.keys(), ...now.keys()]);
  return [...names].sort().flatMap((name) => {
    const [one, other] = [old.get(name), now.get(name)];
    // A new or removed object is one difference, not one for each field.
    if (one === undefined || other === undefined)
      return [{ object: name, path: "", before: one, after: other }];
    return valueDifferences(name, "", one, other);
  });
}
