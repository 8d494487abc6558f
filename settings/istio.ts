import { z } from "zod";
import { dnsLabel } from "./services.ts";

/** What brings Istio about. */
export const ISTIO_MODES = ["existing", "crds", "install"] as const;
export type IstioMode = (typeof ISTIO_MODES)[number];

/** The namespace of what the stack installs. */
export const ISTIO_NAMESPACE = "istio-system";

/** The oldest Istio that knows all that the stack declares: a DestinationRule's `warmup`. Source: Istio 1.24's change notes. */
export const OLDEST_ISTIO = "1.24";

/** The first Istio whose EnvoyFilter knows MERGE_AND_REPLACE_LIST. Source: its release note, envoyfilter-merge-and-replace-list. */
const FIRST_WITH_REPLACE_LIST = "1.31";

/** What is installed where the stack does not say. Source: https://istio.io/latest/news/releases/1.30.x/ */
const DEFAULT_VERSION = "1.30.4";
const DEFAULT_CHARTS = "https://istio-release.storage.googleapis.com/charts";

/** A version's minor line as a number that grows with it; NaN where the text is no version. */
export function minorOf(version: string): number {
  const [, major = "", minor = ""] = /^(\d+)\.(\d+)/.exec(version) ?? [];
  return major === "" ? NaN : Number(major) * 1000 + Number(minor);
}

const versionText = z
  .string('must be text such as 1.30.4 or, in quotes, "1.30"')
  .regex(/^\d+\.\d+(\.\d+)?(-[\w.-]+)?$/, 'must be a version such as 1.30.4 or "1.30"')
  .refine((version) => !(minorOf(version) < minorOf(OLDEST_ISTIO)), `must be ${OLDEST_ISTIO} or newer`);

const revision = z.strictObject({
  name: dnsLabel.describe("the revision: label istio.io/rev of the namespaces that it injects"),
  version: versionText.optional().describe("its version (default: istio.version)"),
});

const values = z
  .record(z.string(), z.unknown().describe("a value of the chart istiod"))
  .refine((given) => !("revision" in given), "takes no revision: use revision or istio.revisions")
  .refine((given) => !hasGlobal(given, "hub"), "takes no global.hub: use istio.hub")
  .refine((given) => !hasGlobal(given, "tag"), "takes no global.tag: use istio.tag");

function hasGlobal(given: Readonly<Record<string, unknown>>, key: string): boolean {
  const { global } = given;
  return typeof global === "object" && global !== null && key in global;
}

const fields = z.strictObject({
  mode: z
    .enum(ISTIO_MODES)
    .default("existing")
    .describe(
      "existing: Istio is there, and is checked before anything is applied; crds: the stack installs its definitions alone; install: istiod as well",
    ),
  version: versionText
    .optional()
    .describe(
      `version that is installed (default: ${DEFAULT_VERSION}), or that is there (default: any from ${OLDEST_ISTIO} on)`,
    ),
  charts: z
    .string()
    .min(1)
    .optional()
    .describe(
      `where the Helm charts are: a repository's URL (default: ${DEFAULT_CHARTS}), oci://..., or the folder manifests/charts of an Istio release`,
    ),
  hub: z.string().min(1).optional().describe("registry of Istio's images (default: the chart's)"),
  tag: z.string().min(1).optional().describe("tag of Istio's images (default: the chart's)"),
  values: values.optional().describe("further values of the chart istiod, such as meshConfig"),
  revisions: z
    .array(revision)
    .min(1)
    .refine(
      (given) => new Set(given.map(({ name }) => name)).size === given.length,
      "two revisions have the same name",
    )
    .optional()
    .describe("an istiod for each, side by side, to upgrade by (default: one, of `revision`)"),
});

type Fields = z.infer<typeof fields>;

/** The keys that a mode has no use for. */
const UNUSED: Readonly<Record<IstioMode, readonly (keyof Fields)[]>> = {
  existing: ["charts", "hub", "tag", "values", "revisions"],
  crds: ["hub", "tag", "values", "revisions"],
  install: [],
};

/** Versions of charts are whole, and the definitions, which all revisions share, are the newest. */
function refuseVersions(
  { version = DEFAULT_VERSION, revisions = [] }: Fields,
  refuse: (path: (string | number)[], message: string) => void,
): void {
  const partial = (text: string): boolean => !/^\d+\.\d+\.\d+/.test(text);
  const message = (text: string): string =>
    `is ${text}, but a chart has a whole version, such as ${DEFAULT_VERSION}`;
  if (partial(version)) refuse(["version"], message(version));
  for (const [index, { version: own = version }] of revisions.entries()) {
    if (partial(own)) refuse(["revisions", index, "version"], message(own));
    if (minorOf(own) > minorOf(version))
      refuse(
        ["revisions", index, "version"],
        `is ${own}, newer than istio.version, of which the definitions are: ${version}`,
      );
  }
}

/** Where Istio comes from. */
export const istioSettings = fields.superRefine((given, context) => {
  const refuse = (path: (string | number)[], message: string): void => {
    context.addIssue({ code: "custom", path, message });
  };
  for (const key of UNUSED[given.mode]) {
    if (given[key] !== undefined)
      refuse([key], `is set, but istio.mode is ${given.mode}, which has no use for it`);
  }
  if (given.mode !== "existing") refuseVersions(given, refuse);
});

/** Where Istio comes from, as a stack says it. */
export type Istio = z.infer<typeof istioSettings>;

/** What the stack installs of Istio. */
export interface IstioInstallation {
  readonly mode: Exclude<IstioMode, "existing">;
  /** Version of the chart base. */
  readonly version: string;
  /** Where the charts are. */
  readonly charts: string;
  /** Registry of the images; undefined means the chart's. */
  readonly hub: string | undefined;
  /** Tag of the images; undefined means the chart's. */
  readonly tag: string | undefined;
  /** Further values of the chart istiod. */
  readonly values: Readonly<Record<string, unknown>>;
  /** The istiods to run; an empty name is the default revision. */
  readonly revisions: readonly { readonly name: string; readonly version: string }[];
  /** The revision that injects into the stack's namespace, which validates for all; empty for the default one. */
  readonly current: string;
}

/** What a stack installs of Istio, with its defaults; undefined where Istio is there. */
export function installationOf(
  { mode, version = DEFAULT_VERSION, charts = DEFAULT_CHARTS, ...given }: Istio,
  current = "",
): IstioInstallation | undefined {
  if (mode === "existing") return undefined;
  const { hub, tag, values: own = {}, revisions = [{ name: current, version: undefined }] } = given;
  const running =
    mode === "install" ? revisions.map((one) => ({ name: one.name, version: one.version ?? version })) : [];
  return { mode, version, charts, hub, tag, values: own, revisions: running, current };
}

/** How an EnvoyFilter merges a list into a cluster's. */
export type ListOperation = "MERGE" | "MERGE_AND_REPLACE_LIST";

/**
 * How a health check gets into a cluster: in place of any other, where each istiod that may read it is known to know how; else beside them,
 * which asks for one owner a cluster.
 */
export function listOperation(istio: Istio): ListOperation {
  const { mode, version = mode === "existing" ? OLDEST_ISTIO : DEFAULT_VERSION, revisions } = istio;
  const versions = revisions?.map((one) => one.version ?? version) ?? [version];
  const knows = versions.every((each) => minorOf(each) >= minorOf(FIRST_WITH_REPLACE_LIST));
  return knows ? "MERGE_AND_REPLACE_LIST" : "MERGE";
}

/** Settings that Istio's depend on. */
interface IstioPlace {
  readonly istio: Istio;
  readonly cluster: "local" | "existing";
  readonly revision?: string | undefined;
}

/** An Istio that the local cluster has already, and a revision that nobody runs. */
export function refuseIstio(
  { istio, cluster, revision: current }: IstioPlace,
  refuse: (path: (string | number)[], message: string) => void,
): void {
  if (cluster === "local" && istio.mode !== "existing")
    refuse(["istio", "mode"], `is ${istio.mode}, but cluster is local, which comes with Istio: leave it out`);
  const { revisions } = istio;
  if (revisions === undefined || revisions.some(({ name }) => name === current)) return;
  const names = revisions.map(({ name }) => name).join(", ");
  refuse(
    ["revision"],
    `is ${current ?? "not set"}, but istio.revisions has ${names} only: nobody would inject`,
  );
}
