import { z } from "zod";
import { type Resources, resourcesSettings } from "./resources.ts";
import { dnsLabel, fieldsOf } from "./services.ts";

/**
 * Sources of Istio: an existing installation, its CRDs from the stack, or all of it from the stack.
 */
export const ISTIO_MODES = ["existing", "crds", "install"] as const;
export type IstioMode = (typeof ISTIO_MODES)[number];

/** Namespace of the Istio that the stack installs. */
export const ISTIO_NAMESPACE = "istio-system";

/**
 * Oldest supported Istio: the first with a DestinationRule's `warmup`.
 * Source: Istio 1.24's change notes
 */
export const OLDEST_ISTIO = "1.24";

/**
 * First Istio whose EnvoyFilter supports MERGE_AND_REPLACE_LIST.
 * Source: its release note, envoyfilter-merge-and-replace-list
 */
const FIRST_WITH_REPLACE_LIST = "1.31";

/** Istio version to install by default. Source: https://istio.io/latest/news/releases/1.30.x/ */
const DEFAULT_VERSION = "1.30.4";
const DEFAULT_CHARTS = "https://istio-release.storage.googleapis.com/charts";

/** Returns a number that orders versions by major and minor; NaN for text that is no version. */
export function minorOf(version: string): number {
  const [, major = "", minor = ""] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  return major === "" ? NaN : Number(major) * 1000 + Number(minor);
}

const versionText = z
  .string('must be text such as 1.30.4 or, in quotes, "1.30"')
  .regex(/^\d+\.\d+(\.\d+)?(-[\w.-]+)?$/, 'must be a version such as 1.30.4 or "1.30"')
  .refine((version) => !(minorOf(version) < minorOf(OLDEST_ISTIO)), `must be ${OLDEST_ISTIO} or newer`);

const revision = z.strictObject({
  name: dnsLabel.describe("name of the revision: label istio.io/rev of the namespaces into which it injects"),
  version: versionText.optional().describe("version of this istiod (default: istio.version)"),
});

const values = z
  .record(z.string(), z.unknown().describe("a value of the chart istiod"))
  .refine((given) => !("revision" in given), "must not have revision: use revision or istio.revisions")
  .refine((given) => !hasGlobal(given, "hub"), "must not have global.hub: use istio.hub")
  .refine((given) => !hasGlobal(given, "tag"), "must not have global.tag: use istio.tag");

function hasGlobal(given: Readonly<Record<string, unknown>>, key: string): boolean {
  return key in fieldsOf(given["global"]);
}

/** Returns a schema for which a value of another type counts as unset. */
function lenient<T extends z.ZodType>(schema: T): z.ZodCatch<z.ZodOptional<T>> {
  return schema.optional().catch(undefined);
}

/** Values of the chart istiod that other keys depend on. */
const knownValues = z.object({
  profile: z.unknown().optional(),
  global: lenient(
    z.object({
      istioNamespace: lenient(z.string()),
      proxy: lenient(z.object({ resources: lenient(resourcesSettings) })),
    }),
  ),
  meshConfig: lenient(z.object({ rootNamespace: lenient(z.string()) })),
});

const fields = z.strictObject({
  mode: z
    .enum(ISTIO_MODES)
    .default("existing")
    .describe(
      "existing: Istio is installed, and is checked before anything is applied; crds: the stack installs only Istio's CRDs; install: the CRDs and istiod",
    ),
  version: versionText
    .optional()
    .describe(
      `version to install (default: ${DEFAULT_VERSION}), or version of the existing Istio (default: ${OLDEST_ISTIO} or newer)`,
    ),
  charts: z
    .string()
    .min(1)
    .optional()
    .describe(
      `source of the Helm charts: a repository's URL (default: ${DEFAULT_CHARTS}), oci://..., or the folder manifests/charts of an Istio release`,
    ),
  hub: z.string().min(1).optional().describe("registry of Istio's images (default: the chart's)"),
  tag: z.string().min(1).optional().describe("tag of Istio's images (default: the chart's)"),
  values: values.optional().describe("additional values of the chart istiod, such as meshConfig"),
  revisions: z
    .array(revision)
    .min(1)
    .refine(
      (given) => new Set(given.map(({ name }) => name)).size === given.length,
      "two revisions have the same name",
    )
    .optional()
    .describe("istiods that run side by side during an upgrade (default: one, for `revision`)"),
});

type Fields = z.infer<typeof fields>;

/** Reports a fault of the key at `path`. */
type Report = (path: (string | number)[], message: string) => void;

/** Keys that have no effect in a mode. */
const UNUSED: Readonly<Record<IstioMode, readonly (keyof Fields)[]>> = {
  existing: ["charts", "hub", "tag", "values", "revisions"],
  crds: ["hub", "tag", "values", "revisions"],
  install: [],
};

/**
 * Rejects versions that the charts cannot have. A chart needs a full version. All revisions share
 * the CRDs, so none may be newer than these.
 */
function rejectInvalidChartVersions(
  { version = DEFAULT_VERSION, revisions = [] }: Fields,
  report: Report,
): void {
  const partial = (text: string): boolean => !/^\d+\.\d+\.\d+/.test(text);
  const message = (text: string): string =>
    `is ${text}, but a chart needs a full version, such as ${DEFAULT_VERSION}`;
  if (partial(version)) report(["version"], message(version));
  for (const [index, { version: own = version }] of revisions.entries()) {
    if (partial(own)) report(["revisions", index, "version"], message(own));
    if (minorOf(own) > minorOf(version))
      report(
        ["revisions", index, "version"],
        `is ${own}, newer than istio.version, ${version}: Istio's CRDs must be as new as the newest istiod`,
      );
  }
}

/** Source of Istio: mode, version, charts and their values. */
export const istioSettings = fields.superRefine((given, context) => {
  const report: Report = (path, message) => {
    context.addIssue({ code: "custom", path, message });
  };
  for (const key of UNUSED[given.mode]) {
    if (given[key] !== undefined) report([key], `has no effect if istio.mode is ${given.mode}: remove it`);
  }
  if (given.mode !== "existing") rejectInvalidChartVersions(given, report);
});

/** Source of Istio, as the stack configures it. */
export type Istio = z.infer<typeof istioSettings>;

/** Parts of Istio that the stack installs. */
export interface IstioInstallation {
  readonly mode: Exclude<IstioMode, "existing">;
  /** Version of the chart `base`. */
  readonly version: string;
  /** Repository URL or folder of the charts. */
  readonly charts: string;
  /** Registry of the images; undefined for the chart's default. */
  readonly hub: string | undefined;
  /** Tag of the images; undefined for the chart's default. */
  readonly tag: string | undefined;
  /** Further values of the chart istiod. */
  readonly values: Readonly<Record<string, unknown>>;
  /** Instances of istiod. An empty name stands for the default revision. */
  readonly revisions: readonly { readonly name: string; readonly version: string }[];
  /**
   * Revision that injects into the stack's namespace; empty for the default one. It also validates
   * Istio's objects for all revisions.
   */
  readonly current: string;
}

/** Domain of a cluster's Services in Kubernetes and in the chart istiod. */
export const DEFAULT_DOMAIN = "cluster.local";

/** Returns values of the chart istiod with the domain of the cluster's Services. */
function withDomain(given: IstioInstallation["values"], clusterDomain: string): IstioInstallation["values"] {
  if (clusterDomain === DEFAULT_DOMAIN) return given;
  const global = fieldsOf(given["global"]);
  return { ...given, global: { ...global, proxy: { ...fieldsOf(global["proxy"]), clusterDomain } } };
}

/** Returns the parts of Istio that a stack installs, with defaults; undefined if Istio exists. */
export function installationOf(
  { mode, version = DEFAULT_VERSION, charts = DEFAULT_CHARTS, ...given }: Istio,
  current = "",
  clusterDomain = DEFAULT_DOMAIN,
): IstioInstallation | undefined {
  if (mode === "existing") return undefined;
  const { hub, tag, values: own = {}, revisions = [{ name: current, version: undefined }] } = given;
  const running =
    mode === "install" ? revisions.map((one) => ({ name: one.name, version: one.version ?? version })) : [];
  const installed = withDomain(own, clusterDomain);
  return { mode, version, charts, hub, tag, values: installed, revisions: running, current };
}

/** Returns the namespaces of istiod and of the rules for the whole mesh. */
export function istioNamespaces({ values: given = {} }: Istio): string[] {
  const { global, meshConfig } = knownValues.parse(given);
  const named = [global?.istioNamespace, meshConfig?.rootNamespace];
  return [ISTIO_NAMESPACE, ...named.filter((name) => name !== undefined)];
}

/**
 * Istio's default resources of sidecars.
 * Source: Istio's manifests/charts/istio-control/istio-discovery/values.yaml
 */
export const DEFAULT_PROXY_RESOURCES: Resources = {
  requests: { cpu: "100m", memory: "128Mi" },
  limits: { cpu: "2000m", memory: "1024Mi" },
};

/**
 * Returns the resources of sidecars in the values of the chart istiod; undefined if there are none,
 * or if the values name a profile, which may have other defaults.
 */
export function sidecarResources({ values: given = {} }: Istio): Resources | undefined {
  const { profile, global } = knownValues.parse(given);
  return profile === undefined ? global?.proxy?.resources : undefined;
}

/** Returns the name of a revision's Helm release. The default revision has an empty name. */
export function releaseName(revision: string): string {
  return revision === "" ? "istiod" : `istiod-${revision}`;
}

/** Operation with which an EnvoyFilter changes a list of a cluster. */
export type ListOperation = "MERGE" | "MERGE_AND_REPLACE_LIST";

/**
 * Returns the operation that adds a health check to a cluster. It replaces the list if every istiod
 * that may read the EnvoyFilter supports that. Otherwise it appends, and each cluster needs a
 * single owner of its checks.
 */
export function listOperation(istio: Istio): ListOperation {
  const { mode, version = mode === "existing" ? OLDEST_ISTIO : DEFAULT_VERSION, revisions } = istio;
  const versions = revisions?.map((one) => one.version ?? version) ?? [version];
  const knows = versions.every((each) => minorOf(each) >= minorOf(FIRST_WITH_REPLACE_LIST));
  return knows ? "MERGE_AND_REPLACE_LIST" : "MERGE";
}

/** Istio's settings and those that they depend on. */
interface IstioPlace {
  readonly istio: Istio;
  readonly cluster: "local" | "existing";
  readonly revision?: string | undefined;
}

/** Longest name of a Helm release. Source: Helm's pkg/chartutil/validate_name.go */
const LONGEST_RELEASE_NAME = 53;

function rejectLongRevisions({ istio, revision: current }: IstioPlace, report: Report): void {
  for (const [index, { name }] of (installationOf(istio, current)?.revisions ?? []).entries()) {
    if (releaseName(name).length <= LONGEST_RELEASE_NAME) continue;
    report(
      istio.revisions === undefined ? ["revision"] : ["istio", "revisions", index, "name"],
      `makes the Helm release ${releaseName(name)}, and Helm accepts ${LONGEST_RELEASE_NAME} characters: shorten it`,
    );
  }
}

/**
 * Rejects installing Istio on the local cluster, which has it, a revision that no istiod runs, and
 * one whose name is too long to install.
 */
export function rejectIstioConflicts(place: IstioPlace, report: Report): void {
  const { istio, cluster, revision: current } = place;
  rejectLongRevisions(place, report);
  if (cluster === "local" && istio.mode !== "existing")
    report(["istio", "mode"], `is ${istio.mode}, but cluster is local, which has Istio: remove it`);
  const { revisions } = istio;
  if (revisions === undefined || revisions.some(({ name }) => name === current)) return;
  const names = revisions.map(({ name }) => name).join(", ");
  report(
    ["revision"],
    `is ${current ?? "not set"}, but istio.revisions has only ${names}: no istiod would inject sidecars`,
  );
}
