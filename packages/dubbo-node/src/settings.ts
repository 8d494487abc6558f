import type { DescService } from "@bufbuild/protobuf";
import * as z from "zod";
import { SettingsError } from "./error.ts";
import { canonicalName, variableOf } from "./names.ts";
import { FILE_VARIABLE, type Properties, readProperties } from "./properties.ts";

/** The environment of a process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * A whole number, as text.
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

/** A time in milliseconds, up to a day. */
export function milliseconds(least: number): ReturnType<typeof whole> {
  return whole(least, 86_400_000);
}

/** A TCP port. */
export const port = whole(1, 65_535);

/** `true` or `false`. */
export const flag = z
  .string()
  .regex(/^(true|false)$/i, "must be true or false")
  .transform((text) => text.toLowerCase() === "true");

/** A name or a domain as DNS takes it: labels of lower-case letters, digits and dashes, with dots between them. */
const dnsName = z
  .string()
  .regex(
    /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/,
    "must be a DNS name: lower-case letters, digits, dashes and dots",
  );

// It travels in the header tri-consumer-appname, so visible ASCII only.
const applicationName = z
  .string()
  .regex(/^[\x21-\x7e]{1,200}$/, "must be 1 to 200 visible ASCII characters without spaces");

/** Version or group of an interface; it travels in a header, and stands in Dubbo's service key between `/` and `:`. */
const interfacePart = z.string().regex(/^[\w.-]+$/, "must be letters, digits, dots, dashes and underscores");

function optional(schema: z.ZodString, value: string | undefined): z.ZodType<string | undefined> {
  return value === undefined ? schema.optional() : schema.default(value);
}

/** Names with commas between them. */
const names = z.string().transform((text) => text.split(",").flatMap((name) => name.trim() || []));

function only(value: string, reason: string): z.ZodDefault<z.ZodString> {
  return z
    .string()
    .refine((text) => text.toLowerCase() === value.toLowerCase(), { error: `must be ${value}: ${reason}` })
    .default(value);
}

/** Most bytes that a message may have where the setting does not say; Dubbo's own default. Source: Dubbo 3.3, Constants.DEFAULT_PAYLOAD. */
const PAYLOAD = 8 * 1024 * 1024;

/** Defaults that differ from application to application. */
export interface ApplicationDefaults {
  /** `dubbo.protocol.port`. */
  readonly port: number;
  /** `dubbo.provider.version` (default: none). */
  readonly version?: string;
}

/**
 * The settings of every Dubbo application, under Dubbo's own property names.
 * @param defaults what holds where neither file nor environment says otherwise
 */
export function applicationSettings(defaults: ApplicationDefaults) {
  return z.object({
    /** Dubbo application name. */
    "dubbo.application.name": applicationName,
    /** Version of the application. */
    "dubbo.application.version": z.string().min(1, "must not be empty").default("v1"),
    /** Port of the Triple server. */
    "dubbo.protocol.port": port.default(defaults.port),
    /** Version of the interfaces that are exported. */
    "dubbo.provider.version": optional(interfacePart, defaults.version),
    /** Group of the interfaces that are exported (default: none). */
    "dubbo.provider.group": interfacePart.optional(),
    /** Most bytes of one message, in either direction. */
    "dubbo.protocol.payload": whole(1, 1_073_741_824).default(PAYLOAD),
    /** Whether a call for a version or a group that is not there gets the one that is; Dubbo's default. */
    "dubbo.rpc.tri.resolve-fallback-to-default": flag.default(true),
    /** Whether probes, commands and metrics are served. */
    "dubbo.application.qos-enable": flag.default(true),
    /** Port of the probes, the commands and the metrics. */
    "dubbo.application.qos-port": port.default(22_222),
    /** Whether others than this machine may call more than the probes; what, the next two say. */
    "dubbo.application.qos-accept-foreign-ip": flag.default(false),
    /** Highest level of the commands that others may call; the probes are PUBLIC, all else is PROTECTED. */
    "dubbo.application.qos-anonymous-access-permission-level": z
      .string()
      .toUpperCase()
      .pipe(z.enum(["NONE", "PUBLIC", "PROTECTED", "PRIVATE"], "must be NONE, PUBLIC, PROTECTED or PRIVATE"))
      .default("PUBLIC"),
    /** Commands that others may call whatever their level, with commas between them. */
    "dubbo.application.qos-anonymous-allow-commands": names.prefault(""),
    /** How log lines look: `text` as the seed's, `json` one object a line. */
    "dubbo.application.log-format": z.enum(["text", "json"], "must be text or json").default("text"),
    /** Time from NOT_SERVING to GOAWAY when the application ends, milliseconds; Dubbo's default. */
    "dubbo.service.shutdown.wait": milliseconds(0).default(10_000),
    /** Time that calls in flight may take after that, milliseconds; with the wait, less than the pod's grace period. */
    "dubbo.service.shutdown.timeout": milliseconds(0).default(15_000),
    // What a mesh leaves no choice about; a value that asks for something else is refused.
    "dubbo.registry.address": only("N/A", "the mesh finds the providers, there is no registry"),
    "dubbo.protocol.name": only("tri", "the mesh carries Triple"),
    "dubbo.consumer.mesh-enable": only("true", "there is no other way of calling here"),
    /** Accepted for the seed's files; nothing listens there, since in a mesh nobody asks for metadata. */
    "dubbo.application.metadata-service-port": port.default(20_885),
  });
}

/** The settings of every Dubbo application. */
export type ApplicationSettings = z.infer<ReturnType<typeof applicationSettings>>;

/** What differs from one calling application to another. */
export interface ReferenceDefaults {
  /** The generated services that are called; each may have a provider of its own. */
  readonly services: readonly DescService[];
  /** `dubbo.reference.provided-by`. */
  readonly providedBy: string;
  /** `dubbo.consumer.version` (default: none). */
  readonly version?: string;
}

/**
 * Names of the settings that only the reference to one service has, in kebab case.
 * Source: Dubbo 3.3, ReferenceConfigBase.getPrefixes.
 */
export function referenceKeys({ typeName }: DescService) {
  const prefix = `dubbo.reference.${canonicalName(typeName)}` as const;
  return { providedBy: `${prefix}.provided-by`, providerPort: `${prefix}.provider-port` } as const;
}

type ReferenceKeys = ReturnType<typeof referenceKeys>;
type NamedReferences = Record<ReferenceKeys["providedBy"], z.ZodOptional<typeof dnsName>> &
  Record<ReferenceKeys["providerPort"], z.ZodOptional<typeof port>>;

/** Where each service's provider is (default: where that of all references is). */
function namedReferences(services: readonly DescService[]): NamedReferences {
  const named: NamedReferences = {};
  for (const { providedBy, providerPort } of services.map(referenceKeys)) {
    named[providedBy] = dnsName.optional();
    named[providerPort] = port.optional();
  }
  return named;
}

/**
 * The settings of an application that calls providers of the mesh.
 * @param defaults what it calls, and what holds where neither file nor environment says otherwise
 */
export function referenceSettings(defaults: ReferenceDefaults) {
  const common = z.object({
    /** Deadline of a unary call, milliseconds. */
    "dubbo.consumer.timeout": milliseconds(1).default(30_000),
    /** Dubbo application name of the provider, which is the name of its Service as well; a service's own goes before it. */
    "dubbo.reference.provided-by": dnsName.default(defaults.providedBy),
    /** Triple port of the provider; a service's own goes before it. */
    "dubbo.reference.provider-port": port.default(50_052),
    /** Version of the interface that is asked for. */
    "dubbo.consumer.version": optional(interfacePart, defaults.version),
    /** Group of the interface that is asked for (default: none). */
    "dubbo.consumer.group": interfacePart.optional(),
    /** Namespace of the provider's Service. */
    POD_NAMESPACE: dnsName.default("default"),
    /** DNS suffix of the cluster's Services. */
    CLUSTER_DOMAIN: dnsName.default("cluster.local"),
  });
  return common.extend(namedReferences(defaults.services));
}

/** The settings of an application that calls providers of the mesh. */
export type ReferenceSettings = z.infer<ReturnType<typeof referenceSettings>>;

interface Given {
  /** Where the value stands, for messages. */
  readonly where: string;
  readonly value: string;
}

function isProperty(name: string): boolean {
  return name.includes(".");
}

/** What is set for a key: its variable wins over the file. */
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

/** A variable under one of Dubbo's sections; Kubernetes itself sets others that begin with DUBBO_, for Services of such a name. */
const DUBBO_VARIABLE = /^DUBBO_(APPLICATION|CONSUMER|PROTOCOL|PROVIDER|REFERENCE|REGISTRY|RPC|SERVICE)_/;

/** Settings that are given under Dubbo's names and that this application does not know. */
function strangers(keys: readonly string[], environment: Environment, file: Properties): string[] {
  const variables = new Set(keys.filter(isProperty).map(variableOf));
  return [
    ...Object.keys(environment).filter((name) => DUBBO_VARIABLE.test(name) && !variables.has(name)),
    ...[...file.keys()].filter((name) => name.startsWith("dubbo.") && !keys.includes(name)),
  ].sort();
}

/** Settings, and what was given that means nothing here. */
export interface Read<S extends z.ZodObject> {
  readonly settings: z.infer<S>;
  /** Names under Dubbo's prefix that have no effect, to be warned of. */
  readonly unknown: readonly string[];
}

/**
 * Reads an application's settings from the environment and from the file that DUBBO_PROPERTIES_FILE names.
 * @param schema an object whose keys are names of properties, in kebab case, or of variables
 * @param environment the variables, for example `process.env`
 * @throws SettingsError that names each setting that is wrong
 */
export function readSettings<S extends z.ZodObject>(schema: S, environment: Environment): Read<S> {
  const path = environment[FILE_VARIABLE];
  const file = path === undefined ? new Map<string, string>() : readProperties(path);
  const keys = Object.keys(schema.shape);
  const found = new Map(keys.map((key) => [key, given(key, environment, file, path)]));
  const parsed = schema.safeParse(Object.fromEntries([...found].map(([key, entry]) => [key, entry?.value])));
  const unknown = strangers(keys, environment, file);
  if (parsed.success) return { settings: parsed.data, unknown };
  const problems = parsed.error.issues.map((issue) => {
    const key = String(issue.path[0]);
    const entry = found.get(key);
    if (entry === undefined) return `${key} (${variableOf(key)}) is not set`;
    return `${entry.where} is ${JSON.stringify(entry.value)}: ${issue.message}`;
  });
  throw new SettingsError(problems.join("; "));
}
