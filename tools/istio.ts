/** Whether a cluster's Istio can serve a stack: looked at before anything is applied. */
import {
  AdmissionregistrationV1Api,
  ApiException,
  CoreV1Api,
  CustomObjectsApi,
  type KubeConfig,
  type V1LabelSelector,
  type V1MutatingWebhook,
} from "@kubernetes/client-node";
import { injectionLabels } from "../components/namespace.ts";
import { messageOf, UserError } from "../lib/errors.ts";
import { minorOf, OLDEST_ISTIO } from "../lib/istio.ts";
import { step } from "../lib/steps.ts";
import type { Settings } from "../settings.ts";
import { kubeConfig } from "./mesh.ts";

/** The kinds that a stack can declare, by API group and version. */
export const ISTIO_KINDS: Readonly<Record<string, readonly string[]>> = {
  "networking.istio.io/v1": ["DestinationRule", "Sidecar", "VirtualService"],
  "networking.istio.io/v1alpha3": ["EnvoyFilter"],
  "security.istio.io/v1": ["AuthorizationPolicy", "PeerAuthentication"],
  "telemetry.istio.io/v1": ["Telemetry"],
};

/** Where istiod tells its version. */
const MONITORING_PORT = 15014;

type Labels = Readonly<Record<string, string>>;
type Selector = Pick<V1LabelSelector, "matchLabels" | "matchExpressions">;
type Requirement = NonNullable<Selector["matchExpressions"]>[number];

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

/** Whether a label selector picks what has these labels. Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/ */
function selects({ matchLabels = {}, matchExpressions = [] }: Selector, labels: Labels): boolean {
  return (
    Object.entries(matchLabels).every(([key, value]) => labels[key] === value) &&
    matchExpressions.every((requirement) => meets(requirement, labels))
  );
}

/** Reads of a cluster what its Istio can do. */
class IstioReader {
  readonly #config: KubeConfig;

  constructor(config: KubeConfig) {
    this.#config = config;
  }

  /** The kinds of {@link ISTIO_KINDS} that the cluster does not serve, with their groups. */
  async missingKinds(): Promise<string[]> {
    const api = this.#config.makeApiClient(CustomObjectsApi);
    const missing = await Promise.all(
      Object.entries(ISTIO_KINDS).map(async ([groupVersion, kinds]) => {
        const [group = "", version = ""] = groupVersion.split("/");
        const served = await this.#answered(api.getAPIResources({ group, version }));
        const known = new Set(served?.resources.map(({ kind }) => kind));
        return kinds.filter((kind) => !known.has(kind)).map((kind) => `${kind} (${groupVersion})`);
      }),
    );
    return missing.flat();
  }

  /** Istio's webhooks that inject sidecars. */
  async injectors(): Promise<Injector[]> {
    const api = this.#config.makeApiClient(AdmissionregistrationV1Api);
    const list = await this.#answered(api.listMutatingWebhookConfiguration());
    return (list?.items ?? []).flatMap(({ metadata, webhooks = [] }) => {
      const labels = metadata?.labels ?? {};
      const revision = labels["istio.io/tag"] ?? labels["istio.io/rev"] ?? "default";
      return webhooks
        .filter(({ name }) => name.endsWith("sidecar-injector.istio.io"))
        .map((webhook) => ({ revision, webhook }));
    });
  }

  /** The version of the istiod behind a Service, as it says itself; undefined where nobody answers for it. */
  async version(name: string, namespace: string): Promise<string | undefined> {
    const api = this.#config.makeApiClient(CoreV1Api);
    const proxied = { name: `${name}:${MONITORING_PORT}`, namespace, path: "version" };
    const answer = await this.#answered(api.connectGetNamespacedServiceProxyWithPath(proxied), [404, 503]);
    return answer?.trim();
  }

  /** @returns what the cluster answers, or undefined for one of the codes that say that something is not there */
  async #answered<T>(request: Promise<T>, absent: readonly number[] = [404]): Promise<T | undefined> {
    return request.catch((error: unknown) => {
      if (error instanceof ApiException && absent.includes(error.code)) return undefined;
      throw new UserError(
        `the cluster of context ${this.#config.currentContext} refuses or does not answer: ${messageOf(error).split("\n")[0] ?? ""}`,
        "Check that it runs and that the context may read webhooks and istiod's version " +
          "(kubectl auth can-i list mutatingwebhookconfigurations; kubectl auth can-i get services/proxy -n istio-system).",
        { cause: error },
      );
    });
  }
}

/** A webhook that injects sidecars. */
interface Injector {
  /** The revision, or the tag of one, that it injects for. */
  readonly revision: string;
  readonly webhook: V1MutatingWebhook;
}

function refuseMissingKinds(context: string, missing: readonly string[]): void {
  if (missing.length === 0) return;
  throw new UserError(
    `the cluster of context ${context} does not know ${missing.join(", ")}: Istio is not installed there, or older than ${OLDEST_ISTIO}`,
    `Install Istio ${OLDEST_ISTIO} or newer, or let the stack do it (dubbo-mesh:istio, mode: install).`,
  );
}

/** The webhook that injects into the stack's namespace. */
function injectorOf({ context, revision }: Settings, injectors: readonly Injector[]): V1MutatingWebhook {
  const labels = injectionLabels(true, revision);
  const found = injectors.find(({ webhook }) => selects(webhook.namespaceSelector ?? {}, labels));
  if (found !== undefined) return found.webhook;
  const label = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  const known = [...new Set(injectors.map((injector) => injector.revision))].sort().join(", ");
  throw new UserError(
    `no webhook of context ${context} injects sidecars into a namespace with ${label.join()}: pods would start outside of the mesh`,
    known === ""
      ? "Install istiod, or let the stack do it (dubbo-mesh:istio, mode: install)."
      : `Set dubbo-mesh:revision to one that is there (${known}); default needs none.`,
  );
}

function refuseVersion(istiod: string, running: string | undefined, expected: string | undefined): void {
  if (running === undefined) {
    throw new UserError(
      `${istiod}, which injects the sidecars, does not answer: no pod could start`,
      `See why: kubectl get pods --namespace ${istiod.split("/")[0] ?? ""} --selector app=istiod.`,
    );
  }
  // NaN, of a build that calls itself otherwise, is neither older nor another.
  if (minorOf(running) < minorOf(OLDEST_ISTIO)) {
    throw new UserError(
      `${istiod} is Istio ${running}, older than ${OLDEST_ISTIO}: it does not know all that the stack declares`,
      `Upgrade Istio to ${OLDEST_ISTIO} or newer, or set dubbo-mesh:revision to one that is.`,
    );
  }
  if (expected === undefined || Number.isNaN(minorOf(running)) || minorOf(running) === minorOf(expected))
    return;
  throw new UserError(
    `dubbo-mesh:istio.version is ${expected}, but ${istiod} is Istio ${running}`,
    "Set istio.version to what is there, or leave it out.",
  );
}

/**
 * Checks that the Istio of a stack that brings none can serve it: the kinds that the stack declares, the webhook that injects into its
 * namespace, and the version of the istiod behind that one.
 * @throws UserError for the first fault, which says what to do
 */
export async function checkIstio(settings: Settings): Promise<void> {
  const { context, injection, istio } = settings;
  if (istio.mode !== "existing") return;
  const reader = new IstioReader(kubeConfig(settings));
  await step("check the cluster's Istio", async () => {
    const [missing, injectors] = await Promise.all([reader.missingKinds(), reader.injectors()]);
    refuseMissingKinds(context, missing);
    if (!injection) return;
    const { service } = injectorOf(settings, injectors).clientConfig;
    // An istiod outside of the cluster is reached by URL, and tells nobody its version.
    if (service === undefined) return;
    const { name, namespace } = service;
    refuseVersion(`${namespace}/${name}`, await reader.version(name, namespace), istio.version);
  });
}
