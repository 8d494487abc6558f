import { z } from "zod";
import { duration } from "../settings/duration.ts";
import { healthCheckFields, healthCheckSettings, profileName } from "../settings/health-check.ts";
import { serviceKeys, serviceSettings } from "../settings/services.ts";
import { settingsSchema } from "../settings/settings.ts";

/** A configuration key, stack-wide or nested. */
export interface Key {
  /** Its path: `[]` stands for an item of a list, `<name>` for a name of the user's own. */
  readonly path: string;
  /** What its value is, in words. */
  readonly type: string;
  /** What holds where it is not given, in words; undefined where nothing does. */
  readonly default: string | undefined;
  /** Whether it must be given where what holds it is. */
  readonly required: boolean;
  /** What it means. */
  readonly meaning: string;
  /** Its JSON Schema. */
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

/** A JSON Schema, as zod makes it of the settings. */
export type Schema = z.infer<typeof schemaShape>;

const profileKey = profileName
  .optional()
  .describe("the numbers of the fields that are not given (default: seed)");

/** What stands for a schema that begins with a transformation, and so takes anything as far as JSON Schema can tell. */
const WALKED = new Map<unknown, z.ZodType>([
  [serviceSettings, serviceKeys],
  [healthCheckSettings, healthCheckFields.partial().extend({ profile: profileKey })],
]);

function jsonSchema(schema: z.ZodType): Schema {
  const json = z.toJSONSchema(schema, {
    io: "input",
    override: ({ zodSchema, jsonSchema: target }) => {
      const walked = WALKED.get(zodSchema);
      if (walked !== undefined) Object.assign(target, jsonSchema(walked));
    },
  });
  return schemaShape.parse(json);
}

const DURATION = z.toJSONSchema(duration).pattern;

/** Whether a value is a duration. */
export function isDuration({ pattern }: Schema): boolean {
  return pattern !== undefined && pattern === DURATION;
}

/** The choices of a value that may be of several types, the objects aside: their fields are keys of their own. */
function choices({ anyOf = [] }: Schema): string {
  const types = anyOf.map((choice) => (choice.type === "object" ? "fields" : typeOf(choice)));
  return [...new Set(types)].join(", or ");
}

/** What a value is, in words. */
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

/** A default that the schema has, or that the meaning names in parentheses. */
function defaultOf({ default: value, description = "" }: Schema): string | undefined {
  const named = DEFAULT.exec(description)?.[1];
  if (named !== undefined) return named;
  if (value === undefined || JSON.stringify(value) === "{}") return undefined;
  return `\`${typeof value === "string" ? value : JSON.stringify(value)}\``;
}

/** What lies under a key: its fields, the items of a list, the values of a map. */
function under(path: string, schema: Schema): [string, Schema, boolean][] {
  const { items, properties = {}, required = [], additionalProperties, propertyNames } = schema;
  if (items !== undefined) return items.type === "object" ? under(`${path}[]`, items) : [];
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
  return under(path, schema).flatMap(([full, own, required]) => {
    const meaning = (own.description ?? "").replace(DEFAULT, "");
    const key = { path: full, type: typeOf(own), default: defaultOf(own), required, meaning, schema: own };
    return [key, ...keysUnder(full, own)];
  });
}

/** Every key of the project, each before those that are nested in it, in the schema's order. */
export function allKeys(): Key[] {
  return keysUnder("", jsonSchema(settingsSchema));
}
