import { readFileSync } from "node:fs";
import { Ajv, type ErrorObject } from "ajv";
import { isSchema, type SchemaFile } from "./strict.ts";

// Schemas of the pinned Kubernetes and Istio, made strict by reduce.ts. They do not check CEL rules
// of Istio's CRDs (x-kubernetes-validations, except durations), rules that the API server and
// istiod check in code (names, ports, selectors), and `patch.value` of an EnvoyFilter, which its
// CRD leaves open. They are stricter than the API server: null is an error unless a CRD allows it,
// and there is no `status`.

interface Validator {
  readonly ajv: Ajv;
  /** Address of the schema by `apiVersion kind`. */
  readonly kinds: ReadonlyMap<string, string>;
}

let loaded: Validator | undefined;

/** The committed schemas of `kubernetes` or `istio`. */
export function schemaFile(name: "kubernetes" | "istio"): SchemaFile {
  return JSON.parse(readFileSync(new URL(`${name}.json`, import.meta.url), "utf8")) as SchemaFile;
}

function validator(): Validator {
  if (loaded === undefined) {
    const ajv = new Ajv({ allErrors: true, verbose: true, allowUnionTypes: true });
    const kinds = new Map<string, string>();
    for (const name of ["kubernetes", "istio"] as const) {
      const file = schemaFile(name);
      ajv.addSchema({ $id: name, definitions: file.definitions });
      for (const [kind, definition] of Object.entries(file.kinds)) {
        kinds.set(kind, `${name}#/definitions/${definition}`);
      }
    }
    loaded = { ajv, kinds };
  }
  return loaded;
}

/**
 * Returns the faults of a Kubernetes object by the schema of its kind. Each is one line with kind,
 * name and the path of the field. A kind without a schema is a fault too.
 */
export function validateObject(object: unknown): string[] {
  if (!isSchema(object)) {
    return ["(no object): must be an object with apiVersion, kind and metadata"];
  }
  const { apiVersion, kind, metadata } = object;
  const name = isSchema(metadata) ? metadata["name"] : undefined;
  const title = `${text(kind)} ${text(name)}`;
  const { ajv, kinds } = validator();
  const key = `${text(apiVersion)} ${text(kind)}`;
  const address = kinds.get(key);
  if (address === undefined) {
    return [`${title}: no schema for ${key}; there are ${[...kinds.keys()].join(", ")}`];
  }
  ajv.validate(address, object);
  return outermost(ajv.errors ?? []).map((error) => `${title}: ${describe(error)}`);
}

/** Removes the errors inside a failed oneOf, anyOf or not. One error stands for all of them. */
function outermost(errors: ErrorObject[]): ErrorObject[] {
  return errors.filter(
    (error) =>
      !errors.some(
        (other) =>
          ["oneOf", "anyOf", "not"].includes(other.keyword) &&
          error.instancePath.startsWith(other.instancePath) &&
          error.schemaPath.startsWith(`${other.schemaPath}/`),
      ),
  );
}

function describe({ keyword, instancePath, params, message, schema, data }: ErrorObject): string {
  const path = instancePath.split("/").slice(1).map(unescaped);
  switch (keyword) {
    case "additionalProperties":
      return `${pathOf([...path, text(params["additionalProperty"])])} is not a known field`;
    case "required":
      return `${pathOf([...path, text(params["missingProperty"])])} is missing`;
    case "enum":
      return `${pathOf(path)} must be one of ${list(schema)}, is ${JSON.stringify(data)}`;
    case "oneOf": {
      const count = params["passingSchemas"] === null ? "one" : "no more than one";
      return `${pathOf(path)} must have ${count} of ${[...new Set(requiredIn(schema))].join(", ")}`;
    }
    default:
      return `${pathOf(path)} ${message ?? keyword}, is ${JSON.stringify(data)}`;
  }
}

/** Returns the key of a JSON Pointer's part. */
function unescaped(part: string): string {
  return part.replaceAll("~1", "/").replaceAll("~0", "~");
}

/** Returns keys as a path such as `spec.ports[0].name` or `metadata.labels["a/b"]`. */
function pathOf(keys: readonly string[]): string {
  const parts = keys.map((key) => {
    if (/^\d+$/.test(key)) {
      return `[${key}]`;
    }
    return /^\w+$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`;
  });
  return parts.join("").replace(/^\./, "") || "(the object)";
}

function requiredIn(schema: unknown): string[] {
  if (Array.isArray(schema)) {
    return schema.flatMap(requiredIn);
  }
  if (!isSchema(schema)) {
    return [];
  }
  const required = Array.isArray(schema["required"]) ? schema["required"].map(text) : [];
  return [...required, ...Object.values(schema).flatMap(requiredIn)];
}

function list(values: unknown): string {
  return Array.isArray(values) ? values.map(text).join(", ") : text(values);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : value === undefined ? "(none)" : JSON.stringify(value);
}
