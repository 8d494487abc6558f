import type { V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import { type AccessLogLine, parseAccessLog } from "./access-log.ts";
import {
  type EnvoyCluster,
  type Listeners,
  parseCheckedClusters,
  parseClusters,
  parseListeners,
  parseStats,
} from "./envoy.ts";
import { type Expected, isProviderCluster } from "./expected.ts";
import { askProxy, type MeshReader, PROXY_CONTAINER } from "./proxy.ts";

/** Lines of a proxy's log that are read: those of one window, at some hundred calls a second. */
const LOG_LINES = 5000;

/** How a pod runs its proxy. */
export type Sidecar = "native sidecar" | "container";

/** What Kubernetes says of a pod. */
export interface PodSample {
  /** Name of the pod. */
  readonly name: string;
  /** Label `version`. */
  readonly version: string | undefined;
  /** Address; undefined until it has one. */
  readonly ip: string | undefined;
  /** Whether Kubernetes sends calls to it. */
  readonly ready: boolean;
  /** Containers that are ready, native sidecars among them. */
  readonly readyContainers: number;
  /** Containers that run for the pod's whole life. */
  readonly containers: number;
  /** How it runs `istio-proxy`; undefined without. */
  readonly sidecar: Sidecar | undefined;
  /** Whether `istio-proxy` runs now. */
  readonly proxyRuns: boolean;
  /** Restarts of its containers. */
  readonly restarts: number;
}

/** What a consumer's Envoy says of the provider's clusters. */
export interface CallerSample {
  /** Name of the pod. */
  readonly pod: string;
  /** The provider's clusters. */
  readonly clusters: readonly EnvoyCluster[];
  /** The clusters with an active health check. */
  readonly checked: readonly string[];
  /** Envoy's counters by name. */
  readonly counters: ReadonlyMap<string, number>;
  /** Its access log. */
  readonly log: readonly AccessLogLine[];
}

/** A provider's access log. */
export interface CalleeSample {
  /** Name of the pod. */
  readonly pod: string;
  /** Label `version`. */
  readonly version: string | undefined;
  /** Its access log. */
  readonly log: readonly AccessLogLine[];
}

/** What a proxy has made of what istiod sent it. */
export interface ConfigSample {
  /** Name of the pod. */
  readonly pod: string;
  /** Label `app` of the pod. */
  readonly application: string;
  /** Its listeners. */
  readonly listeners: Listeners;
  /** Updates of clusters that it has refused since it started; Envoy does not tell whether a later one was taken. */
  readonly refusedClusters: number;
}

/** A look at the mesh. */
export interface MeshSample {
  /** The provider's pods. */
  readonly providers: readonly PodSample[];
  /** The consumer's pods. */
  readonly consumers: readonly PodSample[];
  /** The consumers whose proxies run. */
  readonly callers: readonly CallerSample[];
  /** The providers whose proxies run. */
  readonly callees: readonly CalleeSample[];
  /** All of these proxies. */
  readonly configs: readonly ConfigSample[];
}

function isReady({ status }: V1Pod): boolean {
  return (status?.conditions ?? []).some(({ type, status: value }) => type === "Ready" && value === "True");
}

function sidecarOf(native: readonly string[], containers: readonly string[]): Sidecar | undefined {
  if (native.includes(PROXY_CONTAINER)) return "native sidecar";
  return containers.includes(PROXY_CONTAINER) ? "container" : undefined;
}

/** What there is to know of a pod. A native sidecar is an init container that is always restarted. */
export function podSample(pod: V1Pod): PodSample {
  const { metadata, spec, status } = pod;
  const native = (spec?.initContainers ?? [])
    .filter(({ restartPolicy }) => restartPolicy === "Always")
    .map(({ name }) => name);
  const containers = (spec?.containers ?? []).map(({ name }) => name);
  const statuses: V1ContainerStatus[] = [
    ...(status?.containerStatuses ?? []),
    ...(status?.initContainerStatuses ?? []).filter(({ name }) => native.includes(name)),
  ];
  return {
    name: metadata?.name ?? "",
    version: metadata?.labels?.["version"],
    ip: status?.podIP,
    ready: isReady(pod),
    readyContainers: statuses.filter(({ ready }) => ready).length,
    containers: native.length + containers.length,
    sidecar: sidecarOf(native, containers),
    proxyRuns: statuses.some(({ name, state }) => name === PROXY_CONTAINER && state?.running !== undefined),
    restarts: statuses.reduce((sum, { restartCount }) => sum + restartCount, 0),
  };
}

async function proxyLog(mesh: MeshReader, pod: string): Promise<AccessLogLine[]> {
  return parseAccessLog(await mesh.log(pod, PROXY_CONTAINER, LOG_LINES));
}

// Older Envoys know no filter of clusters, and answer with all.
const CLUSTERS = "clusters?format=json&filter=^outbound";
const CHECKED = "config_dump?resource=dynamic_active_clusters&mask=cluster.name,cluster.health_checks";
const STATS = "stats?filter=^cluster\\.outbound.*\\.(health_check\\.|ssl\\.handshake)";

async function callerSample(mesh: MeshReader, pod: string, expected: Expected): Promise<CallerSample> {
  const [clusters, checked, stats, log] = await Promise.all([
    askProxy(mesh, pod, CLUSTERS),
    askProxy(mesh, pod, CHECKED),
    askProxy(mesh, pod, STATS),
    proxyLog(mesh, pod),
  ]);
  const wanted = (name: string): boolean => isProviderCluster(expected, name);
  return {
    pod,
    clusters: parseClusters(clusters, wanted),
    checked: parseCheckedClusters(checked).filter(wanted),
    counters: parseStats(stats),
    log,
  };
}

const LISTENERS = "config_dump?resource=dynamic_listeners&mask=name,error_state.details";
const REFUSED_CLUSTERS = "cluster_manager.cds.update_rejected";

async function configSample(mesh: MeshReader, application: string, pod: string): Promise<ConfigSample> {
  const [listeners, stats] = await Promise.all([
    askProxy(mesh, pod, LISTENERS),
    askProxy(mesh, pod, `stats?filter=^${REFUSED_CLUSTERS}$`),
  ]);
  const refusedClusters = parseStats(stats).get(REFUSED_CLUSTERS) ?? 0;
  return { pod, application, listeners: parseListeners(listeners), refusedClusters };
}

async function podsOf(mesh: MeshReader, application: string): Promise<PodSample[]> {
  return (await mesh.pods(application)).map(podSample);
}

/**
 * Looks at the mesh once. What has no running proxy is in the pods' lists only.
 * @throws UserError where the cluster or a proxy does not answer
 */
export async function sampleMesh(mesh: MeshReader, expected: Expected): Promise<MeshSample> {
  const { provider, consumer } = expected;
  const [providers, consumers] = await Promise.all([podsOf(mesh, provider), podsOf(mesh, consumer)]);
  const calling = consumers.filter(({ proxyRuns }) => proxyRuns);
  const called = providers.filter(({ proxyRuns }) => proxyRuns);
  const [callers, callees, configs] = await Promise.all([
    Promise.all(calling.map(({ name }) => callerSample(mesh, name, expected))),
    Promise.all(
      called.map(async ({ name: pod, version }) => ({ pod, version, log: await proxyLog(mesh, pod) })),
    ),
    Promise.all([
      ...called.map(({ name }) => configSample(mesh, provider, name)),
      ...calling.map(({ name }) => configSample(mesh, consumer, name)),
    ]),
  ]);
  return { providers, consumers, callers, callees, configs };
}
