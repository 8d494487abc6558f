import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Ajv } from "ajv";
import fc from "fast-check";
import yaml from "js-yaml";
import { describe, expect, it } from "vitest";
import { parseSettings, PROJECT } from "../../../settings/settings.ts";
import { asRaw } from "../../../stack/files.ts";
import { stackSchemaText } from "../../../tools/declarations.ts";
import { SCHEMA_LINE, STACK_SCHEMA, stackSchema } from "../../../tools/stack-schema.ts";
import { type Configuration, sensible } from "../../configurations/arbitrary.ts";

const ROOT = resolve(import.meta.dirname, "../../..");
const STACKS = ["canary", "dev", "prod", "staging"];

const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

// A pattern also checks base64.
const ajv = new Ajv({ allErrors: true, allowUnionTypes: true, formats: { base64: true } });
const validate = ajv.compile(stackSchema());

/**
 * Returns the errors of a stack file, each with path and message, without those of the branches of
 * a choice. A choice also accepts an encrypted value, so a wrong one has the error "must be object"
 * as well.
 */
function errorsOf(file: unknown): string[] {
  validate(file);
  return (validate.errors ?? [])
    .filter(({ keyword }) => keyword !== "if" && keyword !== "anyOf")
    .map(({ instancePath, message = "", params }) => {
      const name: unknown = params["additionalProperty"];
      return `${instancePath} ${message}${typeof name === "string" ? `: ${name}` : ""}`;
    });
}

/** Returns a stack file with these values, by key without the project's prefix. */
function fileOf(configuration: Configuration): object {
  const config = Object.entries(configuration).map(([key, value]) => [`${PROJECT}:${key}`, value]);
  // YAML has no undefined.
  return JSON.parse(JSON.stringify({ config: Object.fromEntries(config) as object })) as object;
}

function isValid(configuration: Configuration): boolean {
  try {
    parseSettings(asRaw(Object.entries(configuration)));
    return true;
  } catch {
    return false;
  }
}

describe("the schema of stack files", () => {
  it("matches the output of `npm run declarations`", async () => {
    expect(read(STACK_SCHEMA)).toBe(await stackSchemaText());
  });

  it.each(STACKS)("is named first in the file of %s, and accepts it", (stack) => {
    const text = read(`Pulumi.${stack}.yaml`);
    expect(text.startsWith(SCHEMA_LINE)).toBe(true);
    expect(errorsOf(yaml.load(text))).toEqual([]);
  });

  it("accepts every random configuration that the program accepts", () => {
    let taken = 0;
    fc.assert(
      fc.property(sensible, (configuration) => {
        if (!isValid(configuration)) return;
        taken += 1;
        expect(errorsOf(fileOf(configuration))).toEqual([]);
      }),
      { numRuns: 400 },
    );
    expect(taken).toBeGreaterThan(100);
  });

  it("describes every key", () => {
    const keys = Object.values(stackSchema().properties?.["config"]?.properties ?? {});
    expect(keys.length).toBeGreaterThan(15);
    for (const key of keys) expect(key).toHaveProperty("description");
  });

  it.each<[string, object]>([
    ["nothing", {}],
    ["no configuration", { config: null }],
    ["Pulumi's own keys", { encryptionsalt: "v1:x", secretsprovider: "passphrase", environment: ["prod"] }],
    ["another namespace's keys", { config: { "kubernetes:context": "c", "aws:region": 1 } }],
    ["an encrypted key", { config: { "dubbo-mesh:context": { secure: "v1:x" } } }],
    ["an encrypted object", { config: { "dubbo-mesh:security": { secure: "v1:x" } } }],
    [
      "an encrypted property",
      fileOf({ services: [{ app: "provider", properties: { "dubbo.x": { secure: "v1:x" } } }] }),
    ],
    ["text, as `pulumi config set` writes it", fileOf({ production: "true", healthCheckBudget: "7" })],
    ["JSON as text", fileOf({ services: '[{"app":"provider"}]', healthCheck: '{"interval":"1s"}' })],
    ["a profile", fileOf({ healthCheck: "fast" })],
    ["fields of a check", fileOf({ healthCheck: { profile: "fast", interval: "1s" } })],
  ])("accepts %s", (_what, file) => {
    expect(errorsOf(file)).toEqual([]);
  });

  const key = (name: string, rest: string): string => `/config/${PROJECT}:${name}${rest}`;
  const service = (fields: object): object => fileOf({ services: [{ app: "provider", ...fields }] });

  it.each<[string, object, string[]]>([
    [
      "a misspelt key",
      fileOf({ helthCheck: "fast" }),
      ["/config must NOT have additional properties: dubbo-mesh:helthCheck"],
    ],
    [
      "a key without the project's prefix",
      { config: { cluster: "local" } },
      ["/config must NOT have additional properties: cluster"],
    ],
    ["a misspelt section", { confg: {} }, [" must NOT have additional properties: confg"]],
    [
      "a number for a switch",
      fileOf({ accessLogs: 5 }),
      [key("accessLogs", " must be boolean,string"), key("accessLogs", " must be object")],
    ],
    [
      "text for a switch",
      fileOf({ accessLogs: "yes" }),
      [key("accessLogs", ' must match pattern "^(true|false)$"'), key("accessLogs", " must be object")],
    ],
    [
      "an unknown choice",
      fileOf({ cluster: "lokal" }),
      [key("cluster", " must be equal to one of the allowed values"), key("cluster", " must be object")],
    ],
    [
      "a number below the least",
      fileOf({ healthCheckBudget: 0 }),
      [key("healthCheckBudget", " must be >= 1")],
    ],
    [
      "a misspelt key of an object",
      fileOf({ security: { mtsl: "STRICT" } }),
      [key("security", " must NOT have additional properties: mtsl")],
    ],
    [
      "a misspelt key of a service",
      service({ prot: 1 }),
      [key("services", "/0 must NOT have additional properties: prot")],
    ],
    [
      "a misspelt field of a check",
      fileOf({ healthCheck: { intervall: "1s" } }),
      [key("healthCheck", " must NOT have additional properties: intervall")],
    ],
    [
      "a misspelt field of a check's check",
      fileOf({ healthCheck: { grpc_health_check: { service: "x" } } }),
      [key("healthCheck", "/grpc_health_check must NOT have additional properties: service")],
    ],
    ["a wrong duration", fileOf({ drain: 5 }), [key("drain", " must be string")]],
    ["a wrong type in a service", service({ port: "x" }), [key("services", "/0/port must be integer")]],
    [
      "a wrong type in a version of a service",
      service({ versions: [{ name: "v1", weight: [] }] }),
      [key("services", "/0/versions/0/weight must be integer")],
    ],
    [
      "a service without a preset and without a name",
      fileOf({ services: [{ image: "x:1" }] }),
      [
        key("services", "/0 must have required property 'name'"),
        key("services", "/0 must have required property 'port'"),
      ],
    ],
    [
      "something beside an encrypted value",
      { config: { "dubbo-mesh:context": { secure: "v1:x", plain: "y" } } },
      [key("context", " must NOT have additional properties: plain")],
    ],
  ])("rejects %s", (_what, file, errors) => {
    expect(errorsOf(file)).toEqual(errors);
  });
});
