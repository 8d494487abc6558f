import type { DescService } from "@bufbuild/protobuf";
import * as z from "zod";
import { SettingsError } from "./error.ts";
import { PAYLOAD } from "./frames.ts";
import { canonicalName, variableOf } from "./names.ts";
import { FILE_VARIABLE, type Properties, readProperties } from "./properties.ts";

/** Environment variables of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Schema of a whole number in text form.
 * @param least smallest value
 * @param most largest value
 */
export function whole(least: number, most: number): z.ZodPipe<z.ZodString, z.ZodTransform<number, string>> {
  const error = `must be a whole number from ${least} to ${most}`;
  return z
    .string()
    .refine((text) => /^\d{1,10}$/.test(text) && Number(text) >= least && Number(text) <= most, { error })
    .transform(Number);
}

/** Schema of a time in milliseconds, up to one day. */
export function milliseconds(least: number): ReturnType<typeof whole> {
  return whole(least, 86_400_000);
}

/** Schema of a TCP port. */
export const port = whole(1, 65_535);

/** Schema of `true` or `false`. */
export const flag = z
  .string()
  .regex(/^(true|false)$/i, "must be true or false")
  .transform((text) => text.toLowerCase() === "true");

/** Schema of a DNS name: labels of lower-case letters, digits and dashes, separated by dots. */
const dnsName = z
  .string()
  .regex(
    /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/,
    "must be a DNS name: lower-case letters, digits, dashes and dots",
  );

// The name travels in the header tri-consumer-appname, so only visible ASCII is allowed.
const applicationName = z
  .string()
  .regex(/^[\x21-\x7e]{1,200}$/, "must be 1 to 200 visible ASCII characters without spaces");

/**
 * Schema of the version or group of an interface.
 * The value travels in a header, and is part of Dubbo's service key between `/` and `:`.
 */
const interfacePart = z.string().regex(/^[\w.-]+$/, "must be letters, digits, dots, dashes and underscores");

function optional(schema: z.ZodString, value: string | undefined): z.ZodType<string | undefined> {
  return value === undefined ? schema.optional() : schema.default(value);
}

/** Schema of comma-separated names. */
const names = z.string().transform((text) => text.split(",").flatMap((name) => name.trim() || []));

function only(value: string, reason: string): z.ZodDefault<z.ZodString> {
  return z
    .string()
    .refine((text) => text.toLowerCase() === value.toLowerCase(), { error: `must be ${value}: ${reason}` })
    .default(value);
}

/** Defaults that differ between applications. */
export interface ApplicationDefaults {
  /** `dubbo.protocol.port`. */
  readonly port: number;
  /** `dubbo.provider.version` (default: none). */
  readonly version?: string;
}

/**
 * Returns the schema of the settings that all Dubbo applications share, under Dubbo's names.
 * @param defaults values for settings missing from the file and the environment
 */
export function applicationSettings(defaults: ApplicationDefaults) {
  return z.object({
    /** Dubbo application name. */
    "dubbo.application.name": applicationName,
    /** Version of the application. */
    "dubbo.application.version": z.string().min(1, "must not be empty").default("v1"),
    /** Port of the Triple server. */
    "dubbo.protocol.port": port.default(defaults.port),
    /** Version of the exported interfaces. */
    "dubbo.provider.version": optional(interfacePart, defaults.version),
    /** Group of the exported interfaces (default: none). */
    "dubbo.provider.group": interfacePart.optional(),
    /** Maximum size of a message in either direction, bytes. */
    "dubbo.protocol.payload": whole(1, 1_073_741_824).default(PAYLOAD),
    /** Serves a call for an unknown version or group with an exported one. */
    "dubbo.rpc.tri.resolve-fallback-to-default": flag.default(true),
    /** Serves gRPC's reflection too. Health is served in any case. */
    "dubbo.tri.builtin.service.init": flag.default(false),
    /** Serves probes, commands and metrics. */
    "dubbo.application.qos-enable": flag.default(true),
    /** Port of the probes, the commands and the metrics. */
    "dubbo.application.qos-port": port.default(22_222),
    /** Lets other machines call more than the probes. The next two settings limit the commands. */
    "dubbo.application.qos-accept-foreign-ip": flag.default(false),
    /**
     * Highest level of the commands for other machines. Probes are PUBLIC, `getConfig` and
     * `gracefulShutdown` PRIVATE, the others PROTECTED.
     */
    "dubbo.application.qos-anonymous-access-permission-level": z
      .string()
      .toUpperCase()
      .pipe(z.enum(["NONE", "PUBLIC", "PROTECTED", "PRIVATE"], "must be NONE, PUBLIC, PROTECTED or PRIVATE"))
      .default("PUBLIC"),
    /** Comma-separated commands that other machines may call at any level. */
    "dubbo.application.qos-anonymous-allow-commands": names.prefault(""),
    /**
     * Format of log lines: `text` in the form of the sample, or `json` with one object per line.
     */
    "dubbo.application.log-format": z.enum(["text", "json"], "must be text or json").default("text"),
    /**
     * Time from NOT_SERVING to GOAWAY at the end of the application, milliseconds; Dubbo's default.
     */
    "dubbo.service.shutdown.wait": milliseconds(0).default(10_000),
    /**
     * Time for calls in flight after GOAWAY, milliseconds. Together with the wait it must be below
     * the grace period of the pod.
     */
    "dubbo.service.shutdown.timeout": milliseconds(0).default(15_000),
    // Fixed in a mesh: any other value is an error.
    "dubbo.registry.address": only("N/A", "the mesh finds the providers; there is no registry"),
    "dubbo.protocol.name": only("tri", "the mesh carries Triple"),
    "dubbo.consumer.mesh-enable": only("true", "calls always go through the mesh"),
    /**
     * Accepted because the files of the sample set it. Nothing listens there: a mesh does not
     * exchange metadata.
     */
    "dubbo.application.metadata-service-port": port.default(20_885),
  });
}

/** Settings that all Dubbo applications share. */
export type ApplicationSettings = z.infer<ReturnType<typeof applicationSettings>>;

/** Defaults that differ between calling applications. */
export interface ReferenceDefaults {
  /** Generated services that the application calls. Each may have a different provider. */
  readonly services: readonly DescService[];
  /** `dubbo.reference.provided-by`. */
  readonly providedBy: string;
  /** `dubbo.consumer.version` (default: none). */
  readonly version?: string;
}

/**
 * Returns the names of the settings for the reference to one service, in kebab case.
 * Source: Dubbo 3.3, ReferenceConfigBase.getPrefixes.
 */
export function referenceKeys({ typeName }: DescService) {
  const prefix = `dubbo.reference.${canonicalName(typeName)}` as const;
  return { providedBy: `${prefix}.provided-by`, providerPort: `${prefix}.provider-port` } as const;
}

type ReferenceKeys = ReturnType<typeof referenceKeys>;
type NamedReferences = Record<ReferenceKeys["providedBy"], z.ZodOptional<typeof dnsName>> &
  Record<ReferenceKeys["providerPort"], z.ZodOptional<typeof port>>;

/**
 * Returns the schemas for the provider of each service (default: the provider of all references).
 */
function namedReferences(services: readonly DescService[]): NamedReferences {
  const named: NamedReferences = {};
  for (const { providedBy, providerPort } of services.map(referenceKeys)) {
    named[providedBy] = dnsName.optional();
    named[providerPort] = port.optional();
  }
  return named;
}

/**
 * Returns the schema of the settings of an application that calls providers in the mesh.
 * @param defaults called services, and values for settings missing from the file and the
 *   environment
 */
export function referenceSettings(defaults: ReferenceDefaults) {
  const common = z.object({
    /** Deadline of a unary call, milliseconds. */
    "dubbo.consumer.timeout": milliseconds(1).default(30_000),
    /**
     * Dubbo application name of the provider, and name of its Service. The setting of a single
     * service takes precedence.
     */
    "dubbo.reference.provided-by": dnsName.default(defaults.providedBy),
    /** Triple port of the provider. The setting of a single service takes precedence. */
    "dubbo.reference.provider-port": port.default(50_052),
    /** Version of the called interface. */
    "dubbo.consumer.version": optional(interfacePart, defaults.version),
    /** Group of the called interface (default: none). */
    "dubbo.consumer.group": interfacePart.optional(),
    /** Namespace of the provider's Service. */
    POD_NAMESPACE: dnsName.default("default"),
    /** DNS suffix of the cluster's Services. */
    CLUSTER_DOMAIN: dnsName.default("cluster.local"),
  });
  return common.extend(namedReferences(defaults.services));
}

/** Settings of an application that calls providers in the mesh. */
export type ReferenceSettings = z.infer<ReturnType<typeof referenceSettings>>;

interface Given {
  /** Source of the value, for messages. */
  readonly where: string;
  readonly value: string;
}

function isProperty(name: string): boolean {
  return name.includes(".");
}

/** Returns the value of a key. The environment variable takes precedence over the file. */
function given(
  key: string,
  environment: Environment,
  file: Properties,
  path: string | undefined,
): Given | undefined {
  const variable = isProperty(key) ? variableOf(key) : key;
  const value = environment[variable];
  if (value !== undefined) return { where: variable, value };
  const written = file.get(key);
  return written === undefined ? undefined : { where: `${key} in ${path ?? ""}`, value: written };
}

/**
 * A variable in one of Dubbo's sections.
 * Kubernetes sets other DUBBO_ variables, for Services whose names start with "dubbo".
 */
const DUBBO_VARIABLE = /^DUBBO_(APPLICATION|CONSUMER|PROTOCOL|PROVIDER|REFERENCE|REGISTRY|RPC|SERVICE|TRI)_/;

/** Returns the names under Dubbo's prefix that this application does not know. */
function unknownNames(keys: readonly string[], environment: Environment, file: Properties): string[] {
  const variables = new Set(keys.filter(isProperty).map(variableOf));
  return [
    ...Object.keys(environment).filter((name) => DUBBO_VARIABLE.test(name) && !variables.has(name)),
    ...[...file.keys()].filter((name) => name.startsWith("dubbo.") && !keys.includes(name)),
  ].sort();
}

/** Settings, and unknown names. */
export interface Read<S extends z.ZodObject> {
  readonly settings: z.infer<S>;
  /** Unknown names under Dubbo's prefix, which deserve a warning. */
  readonly unknown: readonly string[];
}

/**
 * Reads the settings of an application from the environment and from the file in
 * DUBBO_PROPERTIES_FILE.
 * @param schema object schema whose keys are property names in kebab case, or variables
 * @param environment the variables, for example `process.env`
 * @throws SettingsError that names each wrong setting
 */
export function readSettings<S extends z.ZodObject>(schema: S, environment: Environment): Read<S> {
  const path = environment[FILE_VARIABLE];
  const file = path === undefined ? new Map<string, string>() : readProperties(path);
  const keys = Object.keys(schema.shape);
  const found = new Map(keys.map((key) => [key, given(key, environment, file, path)]));
  const parsed = schema.safeParse(Object.fromEntries([...found].map(([key, entry]) => [key, entry?.value])));
  const unknown = unknownNames(keys, environment, file);
  if (parsed.success) return { settings: parsed.data, unknown };
  const problems = parsed.error.issues.map((issue) => {
    const key = String(issue.path[0]);
    const entry = found.get(key);
    if (entry === undefined) return `${key} (${variableOf(key)}) is not set`;
    return `${entry.where} is ${JSON.stringify(entry.value)}: ${issue.message}`;
  });
  throw new SettingsError(problems.join("; "));
}
