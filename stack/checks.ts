/** Checks that run before the program declares a resource: other stacks, namespace, Istio. */
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { injectionLabels } from "../components/namespace.ts";
import { UserError } from "../common/errors.ts";
import { minorOf, OLDEST_ISTIO } from "../settings/istio.ts";
import { ApiServer, Forbidden } from "../common/kubeconfig.ts";
import type { Settings } from "../settings/settings.ts";
import { rejectPromotion } from "./promotion.ts";
import { type Placed, readIfPresent, rejectCollision } from "./files.ts";

/** Istio kinds that a stack can declare, by API group and version. */
export const ISTIO_KINDS: Readonly<Record<string, readonly string[]>> = {
  "networking.istio.io/v1": ["DestinationRule", "Sidecar", "VirtualService"],
  "networking.istio.io/v1alpha3": ["EnvoyFilter"],
  "security.istio.io/v1": ["AuthorizationPolicy", "PeerAuthentication"],
  "telemetry.istio.io/v1": ["Telemetry"],
};

/** Port on which istiod serves its version. */
const MONITORING_PORT = 15014;

type Labels = Readonly<Record<string, string>>;

const requirement = z.object({
  key: z.string(),
  operator: z.string(),
  values: z.array(z.string()).optional(),
});
const selectorSchema = z.object({
  matchLabels: z.record(z.string(), z.string()).optional(),
  matchExpressions: z.array(requirement).optional(),
});
const webhookSchema = z.object({
  name: z.string(),
  namespaceSelector: selectorSchema.optional(),
  clientConfig: z.object({
    service: z.object({ name: z.string(), namespace: z.string() }).optional(),
  }),
});
/** Metadata that tell who made an object. */
export const marks = z.object({
  labels: z.record(z.string(), z.string()).optional(),
  managedFields: z.array(z.object({ manager: z.string().optional() })).optional(),
});
const configurations = z.object({
  items: z.array(z.object({ metadata: marks.optional(), webhooks: z.array(webhookSchema).optional() })),
});
const served = z.object({ resources: z.array(z.object({ kind: z.string() })) });
const object = z.object({ metadata: marks });

type Marks = z.infer<typeof marks>;
type Selector = z.infer<typeof selectorSchema>;
type Requirement = z.infer<typeof requirement>;
type Webhook = z.infer<typeof webhookSchema>;

function meets({ key, operator, values = [] }: Requirement, labels: Labels): boolean {
  const value = labels[key];
  const within = value !== undefined && values.includes(value);
  const met: Readonly<Record<string, boolean>> = {
    In: within,
    NotIn: !within,
    Exists: value !== undefined,
    DoesNotExist: value === undefined,
  };
  return met[operator] ?? false;
}

/**
 * Matches labels against a label selector.
 * Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
 */
function selects({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Labels): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every((requirement) => meets(requirement, labels))
  );
}

/** Reads the objects for the checks from a cluster. */
class ClusterReader {
  readonly #server: ApiServer;

  constructor(server: ApiServer) {
    this.#server = server;
  }

  /** Lists the kinds of {@link ISTIO_KINDS} that the cluster does not serve, with their groups. */
  async missingKinds(): Promise<string[]> {
    const missing = await Promise.all(
      Object.entries(ISTIO_KINDS).map(async ([group, kinds]) => {
        const answer = await this.#server.object(served, `/apis/${group}`);
        const known = new Set(answer?.resources.map(({ kind }) => kind));
        return kinds.filter((kind) => !known.has(kind)).map((kind) => `${kind} (${group})`);
      }),
    );
    return missing.flat();
  }

  /** Lists Istio's webhooks that inject sidecars. */
  async injectors(): Promise<Injector[]> {
    const path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
    const list = await this.#server.object(configurations, path);
    return (list?.items ?? []).flatMap(({ metadata: { labels = {} } = {}, webhooks = [] }) => {
      const revision = labels["istio.io/tag"] ?? labels["istio.io/rev"] ?? "default";
      return webhooks
        .filter(({ name }) => name.endsWith("sidecar-injector.istio.io"))
        .map((webhook) => ({ revision, webhook }));
    });
  }

  /** Asks the istiod behind a Service for its version; undefined if no pod answers. */
  async version(name: string, namespace: string): Promise<string | undefined> {
    const service = `/api/v1/namespaces/${namespace}/services/${name}:${MONITORING_PORT}`;
    return (await this.#server.text(`${service}/proxy/version`, [404, 503]))?.trim();
  }

  /** Reads the labels and field managers of a namespace; undefined if it does not exist. */
  async namespace(name: string): Promise<Marks | undefined> {
    return (await this.#server.object(object, `/api/v1/namespaces/${name}`))?.metadata;
  }
}

/** Webhook that injects sidecars. */
interface Injector {
  /** Revision or revision tag that the webhook injects for. */
  readonly revision: string;
  readonly webhook: Webhook;
}

function rejectMissingKinds(context: string, missing: readonly string[]): void {
  if (missing.length === 0) return;
  throw new UserError(
    `the cluster of context ${context} does not serve ${missing.join(", ")}: Istio is not installed there, or is older than ${OLDEST_ISTIO}`,
    `Install Istio ${OLDEST_ISTIO} or newer, or let the stack do it (dubbo-mesh:istio, mode: install).`,
  );
}

/**
 * Returns the webhook that injects into the stack's namespace.
 * @throws UserError if there is none
 */
function injectorOf({ context, revision }: Settings, injectors: readonly Injector[]): Webhook {
  const labels = injectionLabels(true, revision);
  const found = injectors.find(({ webhook }) => selects(webhook.namespaceSelector ?? {}, labels));
  if (found !== undefined) return found.webhook;
  const label = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  const known = [...new Set(injectors.map((injector) => injector.revision))].sort().join(", ");
  throw new UserError(
    `no webhook of context ${context} injects sidecars into a namespace with ${label.join()}: pods would start outside the mesh`,
    known === ""
      ? "Install istiod, or let the stack do it (dubbo-mesh:istio, mode: install)."
      : `Set dubbo-mesh:revision to an existing one (${known}); for default, leave it out.`,
  );
}

function rejectVersion(istiod: string, running: string | undefined, expected: string | undefined): void {
  if (running === undefined) {
    throw new UserError(
      `${istiod}, which injects the sidecars, does not answer: no pod could start`,
      `Look at its pods: kubectl get pods --namespace ${istiod.split("/")[0] ?? ""} --selector app=istiod.`,
    );
  }
  // A custom build may have another version text. Its minor version is NaN and passes both checks.
  if (minorOf(running) < minorOf(OLDEST_ISTIO)) {
    throw new UserError(
      `${istiod} is Istio ${running}, older than ${OLDEST_ISTIO}: it does not support everything that the stack declares`,
      `Upgrade Istio to ${OLDEST_ISTIO} or newer, or set dubbo-mesh:revision to a newer istiod.`,
    );
  }
  if (expected === undefined || Number.isNaN(minorOf(running)) || minorOf(running) === minorOf(expected))
    return;
  throw new UserError(
    `dubbo-mesh:istio.version is ${expected}, but ${istiod} is Istio ${running}`,
    "Set istio.version to the installed version, or leave it out.",
  );
}

/** Refuses to share the namespace of an istiod. `down` would remove it. */
function rejectControlPlane({ context, namespace }: Settings, injectors: readonly Injector[]): void {
  if (injectors.every(({ webhook }) => webhook.clientConfig.service?.namespace !== namespace)) return;
  throw new UserError(
    `context ${context} has an istiod in namespace ${namespace}: the stack's policies would be for the whole mesh, and down would remove istiod`,
    "Set another namespace (dubbo-mesh:namespace).",
  );
}

/**
 * Checks an existing Istio. It must serve the kinds that the stack declares, run in another
 * namespace, and have a webhook for the stack's namespace. The istiod behind that webhook must have
 * a supported version.
 * @throws UserError for the first fault
 */
async function checkIstio(settings: Settings, reader: ClusterReader): Promise<void> {
  const { context, injection, istio } = settings;
  if (istio.mode !== "existing") return;
  const webhooks = reader.injectors();
  // Missing kinds are reported first. A failed request for webhooks is thrown where its answer is
  // needed.
  webhooks.catch(() => undefined);
  rejectMissingKinds(context, await reader.missingKinds());
  const injectors = await webhooks;
  rejectControlPlane(settings, injectors);
  if (!injection) return;
  const { service } = injectorOf(settings, injectors).clientConfig;
  // The webhook reaches an istiod outside the cluster by URL. There is no way to ask for its
  // version.
  if (service === undefined) return;
  const { name, namespace } = service;
  rejectVersion(`${namespace}/${name}`, await reader.version(name, namespace), istio.version);
}

/**
 * Marks of Pulumi on an object: its field managers, and a label that it sets without server-side
 * apply.
 */
const PULUMI_MANAGER = /^pulumi-(resource-)?kubernetes/;
export const MANAGED_BY = "app.kubernetes.io/managed-by";

/** Reports whether Pulumi made or changed an object. */
export function madeByPulumi({ labels = {}, managedFields = [] }: Marks): boolean {
  return (
    labels[MANAGED_BY] === "pulumi" || managedFields.some(({ manager = "" }) => PULUMI_MANAGER.test(manager))
  );
}

/**
 * Refuses a namespace in ambient mode.
 * Source: https://istio.io/latest/docs/ambient/migrate/
 */
function rejectAmbient({ context, namespace }: Settings, labels: Labels): void {
  if (labels["istio.io/dataplane-mode"] !== "ambient") return;
  throw new UserError(
    `namespace ${namespace} of context ${context} is in ambient mode (istio.io/dataplane-mode=ambient), and the stack needs sidecars: ` +
      "waypoints support no EnvoyFilter, so nothing would check health",
    `Remove its label (kubectl label namespace ${namespace} istio.io/dataplane-mode-), or set another namespace (dubbo-mesh:namespace).`,
  );
}

/**
 * Checks that Pulumi created the namespace, if it exists, and that it is not in ambient mode.
 * `down` removes the namespace and all of its objects.
 * @throws UserError for the first fault
 */
async function checkNamespace(settings: Settings, reader: ClusterReader): Promise<void> {
  const { context, namespace } = settings;
  const found = await reader.namespace(namespace);
  if (found === undefined) return;
  if (madeByPulumi(found)) {
    rejectAmbient(settings, found.labels ?? {});
    return;
  }
  throw new UserError(
    `context ${context} has a namespace ${namespace} that Pulumi did not create`,
    `Set another namespace (dubbo-mesh:namespace), delete this one if it is not needed, or let the stack take it over ` +
      `(\`down\` then deletes it): kubectl label namespace ${namespace} ${MANAGED_BY}=pulumi.`,
  );
}

/** Runs a check. Warns if the account lacks a right for it. */
async function permitted(check: Promise<void>, what: string, rights: string, warn: Warn): Promise<void> {
  return check.catch((error: unknown) => {
    if (!(error instanceof Forbidden)) throw error;
    warn(`${what} is not checked: ${error.message}. The check needs these rights: ${rights}.`);
  });
}

type Warn = (message: string) => void;
type Target = Pick<Placed, "stack" | "settings">;

/**
 * Checks that the context exists, and checks the cluster's namespace and Istio, and that no
 * promotion is under way. Warns about a check for which the account lacks a right.
 * @throws UserError for the first fault
 */
export async function checkCluster({ stack, settings }: Target, warn: Warn): Promise<void> {
  const server = await ApiServer.of(settings);
  const reader = new ClusterReader(server);
  const can = "kubectl auth can-i";
  const checks = await Promise.allSettled([
    permitted(checkNamespace(settings, reader), "the namespace", `${can} get namespaces`, warn),
    permitted(rejectPromotion(server, stack, settings), "a promotion", `${can} get leases`, warn),
    permitted(
      checkIstio(settings, reader),
      "the cluster's Istio",
      `${can} list mutatingwebhookconfigurations; ${can} get services/proxy -n istio-system`,
      warn,
    ),
  ]);
  for (const check of checks) if (check.status === "rejected") throw check.reason;
}

/**
 * Rejects a stack whose file has other values than Pulumi makes of it, or that conflicts with its
 * cluster or with another stack. Runs before the program declares a resource.
 * @throws UserError for the first fault
 */
export async function checkStack(placed: Placed): Promise<void> {
  const { directory, stack } = placed;
  // Pulumi reads the file less strictly.
  await readIfPresent(directory, stack);
  await rejectCollision(placed);
  await checkCluster(placed, (message) => void pulumi.log.warn(message));
}

/** Replaces {@link checkStack} under mocks, where there is no cluster. */
export const unchecked = (): Promise<void> => Promise.resolve();
