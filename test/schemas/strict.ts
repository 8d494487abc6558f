/** A schema as Kubernetes publishes it (OpenAPI 3.0), or the JSON Schema made of it. */
export type Schema = Readonly<Record<string, unknown>>;

/** A file of schemas: where they come from, the definition of each kind (by `apiVersion kind`), the definitions. */
export interface SchemaFile {
  readonly header: {
    /** Go module and version, `module@version`. */
    readonly source: string;
    /** File in the module. */
    readonly path: string;
    readonly licence: string;
    /** What writes the file. */
    readonly command: string;
  };
  readonly kinds: Readonly<Record<string, string>>;
  readonly definitions: Readonly<Record<string, Schema>>;
}

/** Keywords that mean the same in OpenAPI and in JSON Schema and hold no schema of the object's structure. */
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

/** `duration(self) >= duration('1ms')` of Istio's CRDs: a Go duration that is not zero. The other CEL rules are not checked. */
const DURATION_RULE = "duration(self) >= duration('1ms')";
const DURATION = String.raw`^\+?(?=.*[1-9])((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h))+$`;

/** The grammar that the description of Quantity gives; the OpenAPI itself takes any string. */
const QUANTITY = String.raw`^[+-]?(\d+\.?\d*|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?$`;

/** True for a JSON object. */
export function isSchema(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The name of the definition that a schema stands for: `$ref` itself, or `allOf` of one, beside which only defaults are said. */
export function referenceOf(schema: Schema): string | undefined {
  const all: unknown = schema["allOf"];
  const only: unknown = Array.isArray(all) && all.length === 1 ? all[0] : schema;
  const reference = isSchema(only) ? only["$ref"] : undefined;
  return typeof reference === "string" ? reference.slice(reference.lastIndexOf("/") + 1) : undefined;
}

/**
 * The JSON Schema of a published schema, strict: where properties are listed, others are errors.
 * Descriptions and defaults fall away; `nullable`, formats, integers-or-strings, quantities and free-form objects keep their meaning.
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

/** The strict definition of Quantity, which the API takes as a string or a number. */
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
