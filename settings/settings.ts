import yaml from "js-yaml";
import { z } from "zod";
import { messageOf, UserError } from "../common/errors.ts";
import * as local from "../common/local-cluster.ts";
import { faultIn } from "../common/plain.ts";
import { checkCombinations, describeIssue, unquoted } from "./issues.ts";
import { type ImageLoad, imageLoad, LOADED_REGISTRY } from "./image-load.ts";
import { modelOf, type MeshModel } from "./model.ts";
import { keys, PLATFORMS, PROJECT, PUBLIC_BASE_IMAGE } from "./keys.ts";

export { PROJECT } from "./keys.ts";

/**
 * Configuration keys of the project, with type, default and description.
 * `npm run declarations` generates the declarations in Pulumi.yaml from this schema.
 */
export const settingsSchema = keys.superRefine(checkCombinations);

/** Targets of a stack: cluster, docker engine and registry. */
interface Placement {
  /** kubectl context. */
  context: string;
  /** Path of the kubeconfig; undefined for kubectl's default. */
  kubeconfig: string | undefined;
  /** Address of the docker engine; undefined for docker's default. */
  dockerHost: string | undefined;
  /** Registry and organisation; undefined only if no image is built. */
  registry: string | undefined;
  /** Tool that loads images into the cluster; undefined if images are pushed. */
  load: ImageLoad | undefined;
  /** Image from which the applications' images take Node.js. */
  baseImage: string;
  /** Operating system and architecture of the images. */
  platform: (typeof PLATFORMS)[number];
}

/** Settings of a stack: mesh, targets and image builds. */
export type Settings = MeshModel & Placement & Pick<Configured, "cluster" | "healthCheckBudget">;

type Configured = z.infer<typeof settingsSchema>;

type Shape = typeof settingsSchema.shape;

function isText(schema: Shape[keyof Shape]): boolean {
  const { type } = z.toJSONSchema(schema, { io: "input" });
  return type === "string";
}

/** Keys with text values. */
const TEXT_KEYS = new Set(
  Object.entries(settingsSchema.shape).flatMap(([key, schema]) => (isText(schema) ? [key] : [])),
);

/** Returns an error of the stack's configuration. */
function configurationError(issues: readonly z.core.$ZodIssue[]): UserError {
  return new UserError(
    issues.map((issue) => describeIssue(issue, `${PROJECT}:`)).join("; "),
    `Correct the stack's configuration; the keys are ${Object.keys(settingsSchema.shape).join(", ")}.`,
  );
}

/**
 * Checks values that YAML has typed, before they become text.
 * @throws UserError that names each value that JSON does not have, and each key whose text is a
 *   number or another type in YAML
 */
export function checkTyped(values: readonly (readonly [string, unknown])[]): void {
  const issues = values.flatMap(([key, value]): z.core.$ZodIssue[] => {
    const fault = faultIn(value);
    if (fault !== undefined) return [{ code: "custom", message: fault.message, path: [key, ...fault.path] }];
    if (!TEXT_KEYS.has(key) || value === null || typeof value === "string") return [];
    const { error } = settingsSchema.shape[key as keyof Shape].safeParse(value, { error: unquoted });
    return (error?.issues ?? []).map((issue) => ({ ...issue, path: [key] }));
  });
  if (issues.length > 0) throw configurationError(issues);
}

/**
 * Decodes the value of a key. Pulumi passes every value as text. Values of other types are YAML,
 * which includes JSON.
 * @throws UserError that names the key if the text is not YAML
 */
function decode(key: string, text: string): unknown {
  if (TEXT_KEYS.has(key) || !Object.hasOwn(settingsSchema.shape, key)) return text;
  try {
    return yaml.load(text, { schema: yaml.CORE_SCHEMA });
  } catch (error) {
    throw new UserError(
      `${PROJECT}:${key} is not YAML: ${messageOf(error).split("\n")[0] ?? ""}`,
      `Write ${key} in the stack's file as docs/configuration.md shows.`,
      { cause: error },
    );
  }
}

/**
 * Decodes values that Pulumi passes as text. Pulumi.yaml cannot declare a key without a default, so
 * empty text stands for unset.
 * @throws UserError that names a key whose text is not YAML, or has a value that JSON does not have
 */
export function decoded(raw: Readonly<Record<string, string>>): Record<string, unknown> {
  const given = Object.entries(raw).filter(([, text]) => text !== "");
  const values = given.map(([key, text]) => [key, decode(key, text)] as const);
  checkTyped(values);
  return Object.fromEntries(values);
}

/** Returns the platform of this machine, and of a cluster on it. */
function hostPlatform(): Placement["platform"] {
  return process.arch === "arm64" ? "linux/arm64" : "linux/amd64";
}

function localPlacement(configured: Configured): Placement {
  for (const key of ["context", "kubeconfig"] as const) {
    if (configured[key] === undefined) continue;
    throw new UserError(
      `${PROJECT}:${key} is set, but ${PROJECT}:cluster is local, which has its own`,
      `Remove ${key}, or set cluster to existing.`,
    );
  }
  return {
    context: local.CONTEXT,
    kubeconfig: local.KUBECONFIG,
    dockerHost: local.dockerHost(),
    registry: configured.registry ?? `${local.REGISTRY}/dubbo-mesh`,
    load: undefined,
    baseImage: configured.baseImage ?? local.BASE_IMAGE,
    platform: configured.platform ?? hostPlatform(),
  };
}

function existingPlacement(configured: Configured): Placement {
  const { context, kubeconfig, registry, production, baseImage = PUBLIC_BASE_IMAGE } = configured;
  if (context === undefined) {
    throw new UserError(
      `${PROJECT}:context is not set: the stack does not say which cluster it deploys to`,
      `Set it (\`pulumi config set -s STACK context NAME\`, or \`make up CONTEXT=NAME\`), or set cluster to local.`,
    );
  }
  const images = configured.services.flatMap(({ versions }) => versions.map(({ image }) => image));
  // A loaded image has no digest, which production requires.
  const load = registry === undefined && !production ? imageLoad(context) : undefined;
  if (images.includes(undefined) && registry === undefined && load === undefined) {
    throw new UserError(
      `${PROJECT}:registry is not set: the stack does not say where to push its images`,
      `Set it (\`pulumi config set -s STACK registry HOST/ORGANISATION\`, or \`make up REGISTRY=...\`), or give every service an image.`,
    );
  }
  const platform = configured.platform ?? (load === undefined ? "linux/amd64" : hostPlatform());
  const place = { context, kubeconfig, dockerHost: undefined, load, baseImage, platform };
  return { ...place, registry: load === undefined ? registry : LOADED_REGISTRY };
}

/**
 * Checks the configuration and fills in its defaults.
 * @param raw values as text, by key without prefix; values other than strings are YAML or JSON
 * @throws UserError that names each wrong or unknown key
 */
export function parseSettings(raw: Readonly<Record<string, string>>): Settings {
  const parsed = settingsSchema.safeParse(decoded(raw), { error: unquoted });
  if (!parsed.success) throw configurationError(parsed.error.issues);
  const configured = parsed.data;
  const place = configured.cluster === "local" ? localPlacement : existingPlacement;
  const { cluster, healthCheckBudget } = configured;
  return { ...modelOf(configured), ...place(configured), cluster, healthCheckBudget };
}
