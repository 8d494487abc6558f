import { z } from "zod";
import { healthCheckFields, healthCheckSettings, profileName } from "../settings/health-check.ts";
import { PRESETS } from "../settings/presets.ts";
import { serviceKeys, serviceSettings } from "../settings/services.ts";
import { PROJECT, settingsSchema } from "../settings/settings.ts";
import { omit } from "../settings/omit.ts";

/** Path of the committed JSON Schema of stack files, relative to the project. */
export const STACK_SCHEMA = "settings/stack.schema.json";

/** First line of a stack file. It selects the schema in editors with yaml-language-server. */
export const SCHEMA_LINE = `# yaml-language-server: $schema=./${STACK_SCHEMA}\n`;

/** JSON Schema, with types for the keywords that this file reads. */
interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly enum?: readonly unknown[];
  readonly items?: JsonSchema;
  readonly additionalProperties?: boolean | JsonSchema;
  readonly anyOf?: readonly JsonSchema[];
  readonly [keyword: string]: unknown;
}

/** Fields of a health check. All are optional, since the profile has defaults. */
const checkFields = healthCheckFields.partial().extend({
  profile: profileName.optional().describe("profile with the values of all other fields (default: seed)"),
});

function definition(name: string): JsonSchema {
  return { $ref: `#/definitions/${name}` };
}

/** Patterns of values as text, by type. `pulumi config set` writes text. */
const AS_TEXT = {
  boolean: "^(true|false)$",
  integer: "^\\d+$",
  array: "^\\s*\\[",
  object: "^\\s*\\{",
};

/** A profile's name, the fields of a check, or the fields as text. */
const HEALTH_CHECK: JsonSchema = {
  if: { type: "object" },
  then: definition("healthCheck"),
  else: {
    anyOf: [
      { type: "string", enum: profileName.options },
      { type: "string", pattern: AS_TEXT.object },
    ],
  },
};

/** Returns the schema of a service. Only applications with a preset may omit name and port. */
function serviceSchema(): JsonSchema {
  const { required, ...service } = inputSchema(serviceKeys);
  const hasPreset = { properties: { app: { enum: [...PRESETS.keys()] } }, required: ["app"] };
  return { ...service, if: hasPreset, else: { required: required ?? [] } };
}

/**
 * Returns the JSON Schema of a value in a stack file. Zod cannot describe the input of a
 * transformation, so this function inserts its schema.
 */
function inputSchema(schema: z.ZodType): JsonSchema {
  const json = z.toJSONSchema(schema, {
    io: "input",
    // Every YAML language server supports this version.
    target: "draft-7",
    override: ({ zodSchema, jsonSchema }) => {
      if (zodSchema === serviceSettings) Object.assign(jsonSchema, serviceSchema());
      if (zodSchema === healthCheckSettings) {
        delete jsonSchema.anyOf;
        Object.assign(jsonSchema, HEALTH_CHECK);
      }
      // Zod adds this maximum to every integer. It is not a limit of the setting.
      if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
    },
  });
  return omit(json, "$schema");
}

/** A value that `pulumi config set --secret` has encrypted. */
const SECRET: JsonSchema = {
  type: "object",
  properties: { secure: { type: "string" } },
  required: ["secure"],
  additionalProperties: false,
};

/**
 * Returns a schema that also accepts an encrypted value. Editors offer the choices of `anyOf`, but
 * but not those of `else`, which gives better errors.
 */
function orSecret({ description, default: value, ...schema }: JsonSchema): JsonSchema {
  const isChoice = schema.enum !== undefined || [schema.type].flat().includes("boolean");
  const secret = definition("secret");
  const branches = isChoice
    ? { anyOf: [schema, secret] }
    : { if: { type: "object", required: ["secure"] }, then: secret, else: schema };
  return {
    ...(description !== undefined && { description }),
    ...(value !== undefined && { default: value }),
    ...branches,
  };
}

const SCALARS = ["string", "number", "integer", "boolean"];

/**
 * Returns a schema that accepts encrypted scalars, as `pulumi config set --secret --path` writes
 * them.
 */
function withSecrets(schema: JsonSchema): JsonSchema {
  const types = [schema.type ?? []].flat();
  const isScalar = types.length > 0 && types.every((type) => SCALARS.includes(type));
  return isScalar ? orSecret(schema) : secretsUnder(schema);
}

/** Returns a schema that accepts encrypted nested values, but not an encrypted whole value. */
function secretsUnder(schema: JsonSchema): JsonSchema {
  const { properties, items, additionalProperties: others, anyOf } = schema;
  const fields = Object.entries(properties ?? {}).map(([name, each]) => [name, withSecrets(each)] as const);
  return {
    ...schema,
    ...(properties !== undefined && { properties: Object.fromEntries(fields) }),
    ...(items !== undefined && { items: withSecrets(items) }),
    ...(typeof others === "object" && { additionalProperties: withSecrets(others) }),
    ...(anyOf !== undefined && { anyOf: anyOf.map(secretsUnder) }),
  };
}

/** Returns a schema that also accepts the value as YAML or JSON text. */
function orText(schema: JsonSchema): JsonSchema {
  const { type } = schema;
  if (typeof type !== "string" || !(type in AS_TEXT)) return schema;
  return { ...schema, type: [type, "string"], pattern: AS_TEXT[type as keyof typeof AS_TEXT] };
}

/**
 * Returns the JSON Schema of a stack file, `Pulumi.<stack>.yaml`, for editors. It accepts more than
 * the program, which also rejects combinations of keys.
 */
export function stackSchema(): JsonSchema {
  const keys = Object.entries(settingsSchema.shape).map(
    ([key, schema]) => [`${PROJECT}:${key}`, orSecret(orText(secretsUnder(inputSchema(schema))))] as const,
  );
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    $comment: "Made from settings/ by `npm run declarations`.",
    title: `Stack file of ${PROJECT}`,
    type: "object",
    // Source: ProjectStack in sdk/go/common/workspace/project.go of Pulumi
    properties: {
      config: {
        description: "the stack's configuration",
        type: ["object", "null"],
        properties: Object.fromEntries(keys),
        patternProperties: { [`^(?!${PROJECT}:)[^:]+:`]: true },
        additionalProperties: false,
      },
      secretsprovider: { description: "provider that encrypts the stack's secrets", type: "string" },
      encryptedkey: { description: "key of the secrets, encrypted by that provider", type: "string" },
      encryptionsalt: { description: "salt of the passphrase", type: "string" },
      environment: { description: "Pulumi ESC environments that the stack imports" },
    },
    additionalProperties: false,
    definitions: { secret: SECRET, healthCheck: secretsUnder(inputSchema(checkFields)) },
  };
}
