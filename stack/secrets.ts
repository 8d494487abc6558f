import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { parseYaml } from "../common/yaml.ts";
import { PROJECT } from "../settings/settings.ts";
import { isSecret, readContent, stackNames } from "./files.ts";

/** Stack whose program runs, with what the engine passes to it. */
export interface RunningStack {
  /** The project's folder. */
  readonly directory: string;
  readonly stack: string;
  /** Values by full key; encrypted ones in plain text. */
  readonly config: Readonly<Record<string, string>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const SERVICES = `${PROJECT}:services`;
const keys = z.array(z.string());

/**
 * Returns the project's keys that have encrypted values.
 * Source: runtime/config.ts of @pulumi/pulumi
 */
function secretKeys({ environment }: RunningStack): string[] {
  const listed = environment["PULUMI_CONFIG_SECRET_KEYS"] ?? "";
  return listed === "" ? [] : keys.parse(JSON.parse(listed)).filter((key) => key.startsWith(`${PROJECT}:`));
}

/**
 * Tells whether running services are those of the stack file, which encrypts only properties of
 * applications. With `--config-file`, the running ones are of another file.
 */
function encryptsOnlyProperties(inFile: unknown, running: unknown, path: readonly string[] = []): boolean {
  if (isSecret(inFile)) return path.length === 3 && path[1] === "properties";
  if (!isMap(inFile) || !isMap(running)) return inFile === running;
  const names = Object.keys(inFile);
  return (
    names.length === Object.keys(running).length &&
    names.every((name) => encryptsOnlyProperties(inFile[name], running[name], [...path, name]))
  );
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

type Properties = Readonly<Record<string, unknown>>;

/** Returns properties with the value of one path marked as secret; undefined if it has no value. */
function hidden(props: Properties, [name = "", ...rest]: readonly string[]): Properties | undefined {
  const value = props[name];
  if (value === undefined) return undefined;
  const part = rest.length === 0 ? pulumi.secret(value) : isMap(value) ? hidden(value, rest) : undefined;
  return part && { ...props, [name]: part };
}

/** Returns a transformation that hides a field of all objects of a type, or of all types. */
function hide(path: string, type = ""): pulumi.ResourceTransformation {
  return (resource) => {
    if (!resource.type.startsWith(`kubernetes:${type}`)) return undefined;
    const props = hidden(resource.props, path.split("."));
    return props && { props, opts: resource.opts };
  };
}

/** The containers get the properties of the application. */
const CONTAINERS = hide("spec.template.spec.containers", "apps/v1:Deployment");

/**
 * Returns the transformations that hide the stack's encrypted values: the state holds them
 * encrypted, and previews show `[secret]`. If others than properties of applications are encrypted,
 * any part of a spec may come from them, so the whole specs are hidden.
 * @throws UserError if the stack's file cannot be read
 */
export async function hideEncrypted(running: RunningStack): Promise<pulumi.ResourceTransformation[]> {
  const { directory, stack, config } = running;
  const encrypted = secretKeys(running);
  if (encrypted.length === 0) return [];
  const hasFile = (await stackNames(directory)).includes(stack);
  const file = hasFile ? (await readContent(directory, stack)).config : {};
  const onlyProperties =
    encrypted.every((key) => key === SERVICES) &&
    encryptsOnlyProperties(file[SERVICES], parseYaml(config[SERVICES] ?? ""));
  return [onlyProperties ? CONTAINERS : hide("spec")];
}
