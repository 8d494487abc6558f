import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { compile } from "json-schema-to-typescript";
import { format, resolveConfig } from "prettier";
import { z } from "zod";

const ROOT = resolve(import.meta.dirname, "..");
const SCHEMAS = "test/schemas/istio.json";

/** Path of the generated file. */
export const ISTIO_TYPES = join(ROOT, "components/generated/istio.ts");

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>> | undefined;
  readonly items?: Schema | undefined;
  readonly additionalProperties?: boolean | Schema | undefined;
  readonly [keyword: string]: unknown;
}

// Keeps only the keywords that define a type. The tests check objects against the whole schema.
const schema: z.ZodType<Schema> = z.object({
  type: z.union([z.string(), z.array(z.string())]).optional(),
  enum: z.array(z.unknown()).optional(),
  required: z.array(z.string()).optional(),
  get properties() {
    return z.record(z.string(), schema).optional();
  },
  get items() {
    return schema.optional();
  },
  get additionalProperties() {
    return z.union([z.boolean(), schema]).optional();
  },
});

const schemaFile = z.object({
  header: z.object({ source: z.string(), path: z.string(), licence: z.string() }),
  kinds: z.record(z.string(), z.string()),
  definitions: z.record(z.string(), z.object({ properties: z.object({ spec: schema }) })),
});

/** Type of an EnvoyFilter's patch. The CRD accepts any object there. */
const PATCH = "ClusterPatch";
const PATCH_PATH = "configPatches.patch.value";

/** Returns the schema with the type of an EnvoyFilter's patch inserted. */
function withPatch(given: Schema, path: readonly string[] = []): Schema {
  if (path.join(".") === PATCH_PATH) return { tsType: PATCH };
  const { items, properties } = given;
  const children = Object.entries(properties ?? {}).map(
    ([name, child]) => [name, withPatch(child, [...path, name])] as const,
  );
  return {
    ...given,
    ...(items && { items: withPatch(items, path) }),
    ...(properties && { properties: Object.fromEntries(children) }),
  };
}

function specName(kind: string): string {
  return `${kind}Spec`;
}

function typesOf(kind: string, spec: Schema): Promise<string> {
  return compile(withPatch(spec), specName(kind), { bannerComment: "", format: false });
}

/** Returns the text of components/generated/istio.ts. */
export async function istioTypes(): Promise<string> {
  const { header, kinds, definitions } = schemaFile.parse(
    JSON.parse(readFileSync(join(ROOT, SCHEMAS), "utf8")),
  );
  const versions = Object.entries(kinds).map(([key, kind]) => [kind, key.split(" ")[0] ?? ""] as const);
  const types = await Promise.all(
    Object.entries(definitions).map(([kind, { properties }]) => typesOf(kind, properties.spec)),
  );
  const text = `// Made from ${SCHEMAS} by \`npm run istio-types\`. Do not edit.
// Source: ${header.source}, ${header.path}. Licence: ${header.licence}.
import type { ${PATCH} } from "../envoy.ts";

/** API version of each kind. */
export const ISTIO_API_VERSIONS = {
${versions.map(([kind, version]) => `${kind}: ${JSON.stringify(version)},`).join("\n")}
} as const;

/** Spec of each kind. */
export interface IstioSpecs {
${versions.map(([kind]) => `${kind}: ${specName(kind)};`).join("\n")}
}

${types.join("\n")}`;
  return format(text, { ...(await resolveConfig(ISTIO_TYPES)), filepath: ISTIO_TYPES });
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  writeFileSync(ISTIO_TYPES, await istioTypes());
}
