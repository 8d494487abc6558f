// Writes the schemas of the kinds in use: kubernetes.json and istio.json from the pinned Go
// modules, docker-image.json from the pinned npm package. Run it after a change of a pin in
// packages/local-cluster/build, or of @pulumi/docker: node test/schemas/reduce.ts (needs Go).
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { loadAll } from "js-yaml";
import { reportError, UserError } from "../../common/errors.ts";
import { dockerImage, type ResourceSchema } from "./docker.ts";
import { isSchema, quantity, strict, type Schema, type SchemaFile } from "./strict.ts";

const COMMAND = "node test/schemas/reduce.ts";
const META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const OPENAPI = "api/openapi-spec/v3";
const CRDS = "manifests/charts/base/files/crd-all.gen.yaml";

/** API version, its OpenAPI file, the package of its definitions, and the kinds in use. */
const KUBERNETES_KINDS = [
  ["v1", "api__v1", "core.v1", ["ConfigMap", "Namespace", "Pod", "Secret", "Service", "ServiceAccount"]],
  ["apps/v1", "apis__apps__v1", "apps.v1", ["Deployment"]],
  ["autoscaling/v2", "apis__autoscaling__v2", "autoscaling.v2", ["HorizontalPodAutoscaler"]],
  ["networking.k8s.io/v1", "apis__networking.k8s.io__v1", "networking.v1", ["NetworkPolicy"]],
  ["policy/v1", "apis__policy__v1", "policy.v1", ["PodDisruptionBudget"]],
  ["rbac.authorization.k8s.io/v1", "apis__rbac.authorization.k8s.io__v1", "rbac.v1", ["Role", "RoleBinding"]],
] as const;

const ISTIO_KINDS = [
  ["networking.istio.io/v1", ["DestinationRule", "Sidecar", "VirtualService"]],
  ["networking.istio.io/v1alpha3", ["EnvoyFilter"]],
  ["security.istio.io/v1", ["AuthorizationPolicy", "PeerAuthentication"]],
  ["telemetry.istio.io/v1", ["Telemetry"]],
] as const;

interface Module {
  readonly Path: string;
  readonly Version: string;
  readonly Dir: string;
}

/**
 * Returns the pinned version of a module, and its folder in Go's module cache. Downloads it if it
 * is missing.
 */
async function pinnedModule(path: string, build: string): Promise<Module> {
  const cwd = fileURLToPath(new URL(`../../packages/local-cluster/build/${build}`, import.meta.url));
  const result = await execa("go", ["mod", "download", "-json", path], { cwd, reject: false });
  if (result.failed) {
    const reason = result.stderr || result.stdout || result.shortMessage;
    throw new UserError(
      `go cannot provide ${path}: ${reason}`,
      "Install Go 1.26 and let it reach a module proxy.",
    );
  }
  return JSON.parse(result.stdout) as Module;
}

/**
 * Returns the schema of an object of a kind, with metadata and without `status`, which only the API
 * server writes.
 */
function rootOf(apiVersion: string, kind: string, properties: Schema): Schema {
  const written = Object.fromEntries(Object.entries(properties).filter(([name]) => name !== "status"));
  return {
    type: "object",
    required: ["apiVersion", "kind", "metadata"],
    properties: { ...written, apiVersion: { const: apiVersion }, kind: { const: kind } },
    additionalProperties: false,
  };
}

function schemaAt(value: unknown, ...path: string[]): Schema {
  const found = path.reduce((at: unknown, key) => (isSchema(at) ? at[key] : undefined), value);
  if (!isSchema(found)) {
    throw new Error(`no schema at ${path.join(".")}`);
  }
  return found;
}

function referencesIn(value: unknown): string[] {
  if (Array.isArray(value)) {
    return value.flatMap(referencesIn);
  }
  if (!isSchema(value)) {
    return [];
  }
  const reference = value["$ref"];
  const own = typeof reference === "string" ? [reference.replace("#/definitions/", "")] : [];
  return [...own, ...Object.values(value).flatMap(referencesIn)];
}

/** Returns the definitions that `names` refer to. */
function reachable(all: ReadonlyMap<string, Schema>, names: string[]): Record<string, Schema> {
  const found = new Map<string, Schema>();
  const open = [...names];
  for (let name = open.pop(); name !== undefined; name = open.pop()) {
    if (!found.has(name)) {
      const definition = all.get(name) ?? schemaAt(undefined, name);
      found.set(name, definition);
      open.push(...referencesIn(definition));
    }
  }
  return Object.fromEntries(found);
}

async function kubernetes(): Promise<SchemaFile> {
  const module = await pinnedModule("k8s.io/kubernetes", "kube");
  const all = new Map<string, Schema>([[QUANTITY, quantity]]);
  const kinds: Record<string, string> = {};
  for (const [apiVersion, file, group, names] of KUBERNETES_KINDS) {
    const text = await readFile(join(module.Dir, OPENAPI, `${file}_openapi.json`), "utf8");
    for (const [name, schema] of Object.entries(schemaAt(JSON.parse(text), "components", "schemas"))) {
      if (isSchema(schema) && !all.has(name)) {
        all.set(name, strict(schema));
      }
    }
    for (const kind of names) {
      const name = `io.k8s.api.${group}.${kind}`;
      all.set(name, rootOf(apiVersion, kind, schemaAt(all.get(name), "properties")));
      kinds[`${apiVersion} ${kind}`] = name;
    }
  }
  return {
    header: header(module, `${OPENAPI}/{${KUBERNETES_KINDS.map(([, file]) => file).join(",")}}_openapi.json`),
    kinds,
    definitions: reachable(all, Object.values(kinds)),
  };
}

/** Returns the published schema of one version of a custom resource. */
function crdSchema(crds: Schema[], apiVersion: string, kind: string): Schema {
  const [group, name] = apiVersion.split("/");
  const crd = crds.find((document) => {
    const spec = schemaAt(document, "spec");
    return spec["group"] === group && schemaAt(spec, "names")["kind"] === kind;
  });
  const versions: unknown = schemaAt(crd, "spec")["versions"];
  const version = (Array.isArray(versions) ? versions : [])
    .filter(isSchema)
    .find((each) => each["name"] === name);
  return schemaAt(version, "schema", "openAPIV3Schema");
}

async function istio(): Promise<SchemaFile> {
  const module = await pinnedModule("istio.io/istio", "istio");
  const crds = loadAll(await readFile(join(module.Dir, CRDS), "utf8")).filter(isSchema);
  // Every custom resource has the metadata of Kubernetes' own kinds.
  const metadata = { $ref: `kubernetes#/definitions/${META}` };
  const kinds: Record<string, string> = {};
  const definitions: Record<string, Schema> = {};
  for (const [apiVersion, names] of ISTIO_KINDS) {
    for (const kind of names) {
      const properties = schemaAt(strict(crdSchema(crds, apiVersion, kind)), "properties");
      definitions[kind] = rootOf(apiVersion, kind, { ...properties, metadata });
      kinds[`${apiVersion} ${kind}`] = kind;
    }
  }
  return { header: header(module, CRDS), kinds, definitions };
}

function header(module: Module, path: string): SchemaFile["header"] {
  return { source: `${module.Path}@${module.Version}`, path, licence: "Apache-2.0", command: COMMAND };
}

/** Sorts the keys of all objects in a value, so that a new version has a small diff. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) {
    return value.map(sorted);
  }
  if (!isSchema(value)) {
    return value;
  }
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, child]) => [key, sorted(child)]));
}

async function write(name: string, content: SchemaFile | ResourceSchema): Promise<void> {
  const file = fileURLToPath(new URL(`${name}.json`, import.meta.url));
  const { header, ...rest } = content;
  const parts = Object.entries(rest).map(([key, value]) => [key, sorted(value)]);
  const text = JSON.stringify({ header, ...Object.fromEntries(parts) }, null, 1);
  await writeFile(file, `${text}\n`);
  process.stdout.write(`${name}.json: ${Math.ceil(text.length / 1000)} kB\n`);
}

try {
  await write("docker-image", await dockerImage(COMMAND));
  await write("kubernetes", await kubernetes());
  await write("istio", await istio());
} catch (error) {
  process.exitCode = reportError(error, false);
}
