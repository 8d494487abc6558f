/**
 * Generates schema.json, Pulumi's schema of the component plugin, from the settings.
 * Run it with `npm run plugin-schema`.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { meshKeys } from "../../settings/mesh.ts";
import { serviceKeys } from "../../settings/services.ts";
import manifest from "./package.json" with { type: "json" };

/** Part of JSON Schema that the settings use. */
interface JsonSchema {
  readonly type?: string | readonly string[];
  readonly description?: string;
  readonly properties?: Readonly<Record<string, JsonSchema>>;
  readonly required?: readonly string[];
  readonly items?: JsonSchema;
  readonly additionalProperties?: JsonSchema | boolean;
  readonly anyOf?: readonly JsonSchema[];
}

/**
 * Type in Pulumi's schema.
 * Source: https://www.pulumi.com/docs/iac/guides/building-extending/packages/schema/
 */
interface TypeSpec {
  readonly type?: string;
  readonly $ref?: string;
  readonly items?: TypeSpec;
  readonly additionalProperties?: TypeSpec;
  readonly oneOf?: readonly TypeSpec[];
}

interface PropertySpec extends TypeSpec {
  readonly description?: string;
}

interface ObjectSpec {
  readonly type: "object";
  readonly properties: Readonly<Record<string, PropertySpec>>;
  readonly required: readonly string[];
}

const ANY = { $ref: "pulumi.json#/Any" };

function pascal(name: string): string {
  return name.replace(/(^|[^A-Za-z0-9])([a-z])/g, (_all, _before, letter: string) => letter.toUpperCase());
}

/** Returns the alternative schemas of a value. */
function alternativesOf({ type, anyOf }: JsonSchema): readonly JsonSchema[] {
  if (anyOf !== undefined) return anyOf;
  return [type ?? []].flat().map((each) => ({ type: each }));
}

/** Collects the object types of a schema by token. */
class Types {
  readonly objects = new Map<string, ObjectSpec>();

  /** @param name name of the type, if it is an object */
  typeOf(schema: JsonSchema, name: string): TypeSpec {
    const { items, properties, additionalProperties } = schema;
    const alternatives = alternativesOf(schema);
    if (alternatives.length > 1) return { oneOf: alternatives.map((each) => this.typeOf(each, name)) };
    const [type] = [schema.type ?? []].flat();
    if (type === "array") return { type, items: this.typeOf(items ?? {}, name.replace(/s$/, "")) };
    if (properties !== undefined && Object.keys(properties).length > 0) return this.#reference(schema, name);
    if (type === "object" && typeof additionalProperties === "object")
      return { type, additionalProperties: this.typeOf(additionalProperties, `${name}Entry`) };
    return type === undefined ? ANY : { type };
  }

  /**
   * Returns an object type with its properties.
   * @param name name of the type
   */
  propertiesOf(schema: JsonSchema, name: string): ObjectSpec {
    const { properties = {}, required = [] } = schema;
    const specs = Object.entries(properties).map(([key, property]) => {
      const { description } = property;
      const spec = this.typeOf(property, `${name}${pascal(key)}`);
      return [key, { ...spec, ...(description !== undefined && { description }) }] as const;
    });
    return { type: "object", properties: Object.fromEntries(specs), required };
  }

  #reference(schema: JsonSchema, name: string): TypeSpec {
    const token = `dubbo-mesh:mesh:${name}`;
    this.objects.set(token, this.propertiesOf(schema, name));
    return { $ref: `#/types/${token}` };
  }
}

function jsonSchema(schema: z.ZodType): JsonSchema {
  return z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as JsonSchema;
}

const STRING = { type: "string" };
const STRINGS = { type: "object", additionalProperties: STRING };

/** Returns Pulumi's schema of the plugin. */
export function pluginSchema(): object {
  const types = new Types();
  const mesh = jsonSchema(meshKeys);
  const service = jsonSchema(serviceKeys.omit({ app: true, build: true, promotion: true }));
  const inputs = types.propertiesOf(
    {
      properties: {
        ...mesh.properties,
        services: { ...mesh.properties?.["services"], type: "array", items: service },
      },
      required: ["services"],
    },
    "Mesh",
  );
  const outputs = {
    namespace: { ...STRING, description: "namespace of the mesh" },
    serviceAddresses: {
      ...STRINGS,
      description: "address of each service in the cluster, host:port, by service",
    },
    envoyFilterNames: {
      ...STRINGS,
      description: "name of the EnvoyFilter with the active health checks of a caller, by caller",
    },
  };
  return {
    name: "dubbo-mesh",
    version: manifest.version,
    description: manifest.description,
    license: manifest.license,
    types: Object.fromEntries([...types.objects].sort(([a], [b]) => (a < b ? -1 : 1))),
    resources: {
      "dubbo-mesh:mesh:DubboMesh": {
        isComponent: true,
        description: "An Apache Dubbo application mesh on Kubernetes with Istio.",
        inputProperties: inputs.properties,
        requiredInputs: inputs.required,
        properties: outputs,
        required: Object.keys(outputs),
      },
    },
  };
}

/** Returns the text of schema.json. */
export function schemaText(): string {
  return `${JSON.stringify(pluginSchema(), undefined, 2)}\n`;
}

if (import.meta.main) writeFileSync(fileURLToPath(new URL("schema.json", import.meta.url)), schemaText());
