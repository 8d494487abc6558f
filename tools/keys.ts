import { z } from "zod";
import { duration } from "../settings/duration.ts";
import { healthCheckFields, healthCheckSettings, profileName } from "../settings/health-check.ts";
import { serviceKeys, serviceSettings } from "../settings/services.ts";
import { settingsSchema } from "../settings/settings.ts";

/** A configuration key, stack-wide or nested. */
export interface Key {
  /** Path of the key. `[]` stands for a list item, `<name>` for a name that the user chooses. */
  readonly path: string;
  /** Description of the type. */
  readonly type: string;
  /** Description of the default; undefined if there is none. */
  readonly default: string | undefined;
  /** True if the enclosing value must have this key. */
  readonly required: boolean;
  /** Description of the key's effect. */
  readonly meaning: string;
  /** JSON Schema of the value. */
  readonly schema: Schema;
}

const schemaShape = z.looseObject({
  type: z.union([z.string(), z.array(z.string())]).optional(),
  enum: z.array(z.union([z.string(), z.number()])).optional(),
  pattern: z.string().optional(),
  description: z.string().optional(),
  default: z.unknown().optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  required: z.array(z.string()).optional(),
  get anyOf() {
    return z.array(schemaShape).optional();
  },
  get items() {
    return schemaShape.optional();
  },
  get properties() {
    return z.record(z.string(), schemaShape).optional();
  },
  get additionalProperties() {
    return z.union([z.boolean(), schemaShape]).optional();
  },
  get propertyNames() {
    return schemaShape.optional();
  },
});

/** A JSON Schema, as zod generates it from the settings. */
export type Schema = z.infer<typeof schemaShape>;

const profileKey = profileName
  .optional()
  .describe("profile with the values of all other fields (default: seed)");

/**
 * Replacements for schemas that start with a transformation. JSON Schema cannot describe their
 * input.
 */
const REPLACEMENTS = new Map<unknown, z.ZodType>([
  [serviceSettings, serviceKeys],
  [healthCheckSettings, healthCheckFields.partial().extend({ profile: profileKey })],
]);

function jsonSchema(schema: z.ZodType): Schema {
  const json = z.toJSONSchema(schema, {
    io: "input",
    override: ({ zodSchema, jsonSchema: target }) => {
      const replacement = REPLACEMENTS.get(zodSchema);
      if (replacement !== undefined) Object.assign(target, jsonSchema(replacement));
    },
  });
  return schemaShape.parse(json);
}

const DURATION = z.toJSONSchema(duration).pattern;

/** Reports whether a value is a duration. */
export function isDuration({ pattern }: Schema): boolean {
  return pattern !== undefined && pattern === DURATION;
}

/**
 * Describes a value that may have several types. An object type appears as `fields`, because each
 * field is a separate key.
 */
function choices({ anyOf = [] }: Schema): string {
  const types = anyOf.map((choice) => (choice.type === "object" ? "fields" : typeOf(choice)));
  return [...new Set(types)].join(", or ");
}

/** Describes the type of a value. */
export function typeOf(schema: Schema): string {
  if (schema.anyOf !== undefined && schema.properties !== undefined) return choices(schema);
  if (schema.anyOf !== undefined) return choices(schema);
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(", ");
  if (isDuration(schema)) return "duration";
  if (schema.type === "array") return `list of ${typeOf(schema.items ?? {})}`;
  if (schema.type === "object") return isMap(schema) ? "map" : "object";
  return [schema.type ?? "anything"].flat().join(" or ").replace("string", "text");
}

function isMap({ properties, additionalProperties }: Schema): boolean {
  return typeof additionalProperties === "object" && Object.keys(properties ?? {}).length === 0;
}

const DEFAULT = / \(default: ([^)]*)\)/;

/** Returns the default in the schema, or the one that the description has in parentheses. */
function defaultOf({ default: value, description = "" }: Schema): string | undefined {
  const named = DEFAULT.exec(description)?.[1];
  if (named !== undefined) return named;
  if (value === undefined || JSON.stringify(value) === "{}") return undefined;
  return `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

/** Returns the fields of a key's object, of its list items or of its map values. */
function childrenOf(path: string, schema: Schema): [string, Schema, boolean][] {
  const { items, properties = {}, required = [], additionalProperties, propertyNames } = schema;
  if (items !== undefined) return items.type === "object" ? childrenOf(`${path}[]`, items) : [];
  const fields = Object.entries(properties).map(([name, field]): [string, Schema, boolean] => [
    path === "" ? name : `${path}.${name}`,
    field,
    required.includes(name),
  ]);
  if (fields.length > 0 || typeof additionalProperties !== "object") return fields;
  const names = propertyNames?.enum?.map((name) => `.${name}`) ?? [".<name>"];
  return names.map((name) => [`${path}${name}`, additionalProperties, false]);
}

function keysUnder(path: string, schema: Schema): Key[] {
  return childrenOf(path, schema).flatMap(([full, own, required]) => {
    const meaning = (own.description ?? "").replace(DEFAULT, "");
    const key = { path: full, type: typeOf(own), default: defaultOf(own), required, meaning, schema: own };
    return [key, ...keysUnder(full, own)];
  });
}

/** Returns every key of the project in the schema's order, parents before children. */
export function allKeys(): Key[] {
  return keysUnder("", jsonSchema(settingsSchema));
}
