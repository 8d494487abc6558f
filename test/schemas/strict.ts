/** A schema that Kubernetes publishes (OpenAPI 3.0), or the JSON Schema made from it. */
export type Schema = Readonly<Record<string, unknown>>;

/**
 * A file of schemas: their source, the definition of each kind (by `apiVersion kind`), and the
 * definitions.
 */
export interface SchemaFile {
  readonly header: {
    /** Go module and version, `module@version`. */
    readonly source: string;
    /** File in the module. */
    readonly path: string;
    readonly licence: string;
    /** Command that writes the file. */
    readonly command: string;
  };
  readonly kinds: Readonly<Record<string, string>>;
  readonly definitions: Readonly<Record<string, Schema>>;
}

/** Keywords that mean the same in OpenAPI and JSON Schema, and contain no schema. */
const KEPT = [
  "required",
  "enum",
  "pattern",
  "minimum",
  "maximum",
  "minLength",
  "maxLength",
  "minItems",
  "maxItems",
  "minProperties",
  "maxProperties",
  "oneOf",
  "anyOf",
  "allOf",
  "not",
] as const;

const INT32 = 2 ** 31;

/**
 * The rule `duration(self) >= duration('1ms')` of Istio's CRDs: a Go duration that is not zero.
 * Other CEL rules are not checked.
 */
const DURATION_RULE = "duration(self) >= duration('1ms')";
const DURATION = String.raw`^\+?(?=.*[1-9])((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h))+$`;

/** Grammar in the description of Quantity. The OpenAPI itself allows any string. */
const QUANTITY = String.raw`^[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$`;

/** Tells whether a value is a JSON object. */
export function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Returns the name of the definition that a schema refers to: by `$ref`, or by `allOf` with one
 * item beside defaults.
 */
export function referenceOf(schema: Schema): string | undefined {
  const all: unknown = schema["allOf"];
  const only: unknown = Array.isArray(all) && all.length === 1 ? all[0] : schema;
  const reference = isSchema(only) ? only["$ref"] : undefined;
  return typeof reference === "string" ? reference.slice(reference.lastIndexOf("/") + 1) : undefined;
}

/**
 * Converts a published schema to a strict JSON Schema, in which unlisted properties are errors.
 * Descriptions and defaults are dropped; `nullable`, formats, integers-or-strings, quantities and
 * free-form objects keep their meaning.
 */
export function strict(schema: Schema): Schema {
  const reference = referenceOf(schema);
  if (reference !== undefined) {
    return { $ref: `#/definitions/${reference}` };
  }
  if (schema["x-kubernetes-int-or-string"] === true || schema["format"] === "int-or-string") {
    return { type: ["integer", "string"] };
  }
  return {
    ...typeOf(schema),
    ...formatOf(schema),
    ...Object.fromEntries(KEPT.flatMap((key) => (schema[key] === undefined ? [] : [[key, schema[key]]]))),
    ...childrenOf(schema),
  };
}

/** Strict definition of Quantity, which the API accepts as a string or a number. */
export const quantity: Schema = { type: ["string", "number"], pattern: QUANTITY };

function typeOf(schema: Schema): Schema {
  const type = schema["type"];
  if (type === undefined) {
    return {};
  }
  return { type: schema["nullable"] === true ? [type, "null"] : type };
}

function formatOf(schema: Schema): Schema {
  if (schema["format"] === "int32") {
    return { minimum: -INT32, maximum: INT32 - 1 };
  }
  if (schema["format"] === "byte") {
    return { pattern: "^[A-Za-z0-9+/]*={0,2}$" };
  }
  const rules = schema["x-kubernetes-validations"];
  const isDuration =
    Array.isArray(rules) && rules.some((rule) => isSchema(rule) && rule["rule"] === DURATION_RULE);
  return isDuration ? { pattern: DURATION } : {};
}

function childrenOf(schema: Schema): Schema {
  const { properties, items, additionalProperties } = schema;
  return {
    ...(isSchema(items) && { items: strict(items) }),
    ...(isSchema(additionalProperties) && { additionalProperties: strict(additionalProperties) }),
    ...(isSchema(properties) && {
      properties: Object.fromEntries(
        Object.entries(properties).map(([name, child]) => [name, isSchema(child) ? strict(child) : child]),
      ),
      ...(schema["x-kubernetes-preserve-unknown-fields"] !== true && { additionalProperties: false }),
    }),
  };
}
