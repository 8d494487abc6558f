import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { parseYaml } from "../common/yaml.ts";
import { PROJECT } from "../settings/settings.ts";
import { encryptsOnlyProperties, isSecret, readIfPresent } from "./files.ts";

/** Stack whose program runs, with what the engine passes to it. */
export interface RunningStack {
  /** The project's folder. */
  readonly directory: string;
  readonly stack: string;
  /** Values by full key; encrypted ones in plain text. */
  readonly config: Readonly<Record<string, string>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const PREFIX = `${PROJECT}:`;
const keys = z.array(z.string());

/**
 * Returns the project's keys that have encrypted values.
 * Source: runtime/config.ts of @pulumi/pulumi
 */
function secretKeys({ environment }: RunningStack): string[] {
  const listed = environment["PULUMI_CONFIG_SECRET_KEYS"] ?? "";
  return listed === "" ? [] : keys.parse(JSON.parse(listed)).filter((key) => key.startsWith(PREFIX));
}

type Properties = Readonly<Record<string, unknown>>;

function isMap(value: unknown): value is Properties {
  return typeof value === "object" && value !== null && !pulumi.Output.isInstance(value);
}

/** Tells whether a running value is that of the stack file, apart from encrypted parts. */
function isFrom(inFile: unknown, running: unknown): boolean {
  if (isSecret(inFile)) return true;
  if (!isMap(inFile) || !isMap(running)) return inFile === running;
  const names = Object.keys(inFile);
  return (
    names.length === Object.keys(running).length && names.every((name) => isFrom(inFile[name], running[name]))
  );
}

/** Returns properties with the value of one path marked as secret; undefined if it has no value. */
function hidden(props: Properties, [name = "", ...rest]: readonly string[]): Properties | undefined {
  const value = props[name];
  if (value === undefined) return undefined;
  const part = rest.length === 0 ? pulumi.secret(value) : isMap(value) ? hidden(value, rest) : undefined;
  return part && { ...props, [name]: part };
}

/** Hides what a stack decides of an object: its spec, or the values of a Helm release. */
const hideSpec: pulumi.ResourceTransformation = ({ type, props, opts }) => {
  if (!type.startsWith("kubernetes:")) return undefined;
  const changed = hidden(props, ["spec"]) ?? hidden(props, ["values"]);
  return changed && { props: changed, opts };
};

/** Hides the containers of a Deployment: they get the properties of the application. */
const hideContainers: pulumi.ResourceTransformation = (resource) => {
  const { type, props, opts } = resource;
  if (type !== "kubernetes:apps/v1:Deployment") return undefined;
  const changed = hidden(props, ["spec", "template", "spec", "containers"]);
  return changed ? { props: changed, opts } : hideSpec(resource);
};

/**
 * Returns the transformations that hide the stack's encrypted values: the state holds them
 * encrypted, and previews show `[secret]`. If others than properties of applications are encrypted,
 * any part of a spec may come from them, so whole specs are hidden. So they are if the running
 * values are not the file's, as with `--config-file`.
 * @throws UserError if the stack's file cannot be read
 */
export async function hideEncrypted(running: RunningStack): Promise<pulumi.ResourceTransformation[]> {
  const { directory, stack, config } = running;
  const encrypted = secretKeys(running);
  if (encrypted.length === 0) return [];
  const file = (await readIfPresent(directory, stack))?.config ?? {};
  const onlyProperties = encrypted.every(
    (key) =>
      encryptsOnlyProperties(key.slice(PREFIX.length), file[key]) &&
      isFrom(file[key], parseYaml(config[key] ?? "")),
  );
  return [onlyProperties ? hideContainers : hideSpec];
}
