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

/** Number of log lines to read. It covers one observation at several hundred calls per second. */
const LOG_LINES = 5000;

/** Kind of container that runs the proxy. */
export type Sidecar = "native sidecar" | "container";

/** Kubernetes' view of a pod. */
export interface PodSample {
  /** Name of the pod. */
  readonly name: string;
  /** Label `version`. */
  readonly version: string | undefined;
  /** Address; undefined until the pod has one. */
  readonly ip: string | undefined;
  /** True if Kubernetes sends calls to the pod. */
  readonly ready: boolean;
  /** Number of ready containers, including native sidecars. */
  readonly readyContainers: number;
  /** Number of containers that run for the pod's whole life. */
  readonly containers: number;
  /** Kind of its `istio-proxy` container; undefined without one. */
  readonly sidecar: Sidecar | undefined;
  /** True if `istio-proxy` runs now. */
  readonly proxyRuns: boolean;
  /** Number of container restarts. */
  readonly restarts: number;
}

/** Envoy's view of the callee's clusters, for one caller pod. */
export interface CallerSample {
  /** Name of the pod. */
  readonly pod: string;
  /** Clusters of the callee. */
  readonly clusters: readonly EnvoyCluster[];
  /** Names of the clusters with an active health check. */
  readonly checked: readonly string[];
  /** Envoy's counters by name. */
  readonly counters: ReadonlyMap<string, number>;
  /** Access log of the pod's proxy. */
  readonly log: readonly AccessLogLine[];
}

/** Access log of a callee's pod. */
export interface CalleeSample {
  /** Name of the pod. */
  readonly pod: string;
  /** Label `version`. */
  readonly version: string | undefined;
  /** Access log of the pod's proxy. */
  readonly log: readonly AccessLogLine[];
}

/** State of the configuration that a proxy received from istiod. */
export interface ConfigSample {
  /** Name of the pod. */
  readonly pod: string;
  /** Label `app` of the pod. */
  readonly application: string;
  readonly listeners: Listeners;
  /**
   * Rejected cluster updates since the proxy started. Envoy does not report if it accepted a later
   * one.
   */
  readonly refusedClusters: number;
}

/** A sample of the mesh at one moment. */
export interface MeshSample {
  /** Pods of the callee. */
  readonly providers: readonly PodSample[];
  /** Pods of the caller. */
  readonly consumers: readonly PodSample[];
  /** Caller pods with a running proxy. */
  readonly callers: readonly CallerSample[];
  /** Callee pods with a running proxy. */
  readonly callees: readonly CalleeSample[];
  /** Configuration of all these proxies. */
  readonly configs: readonly ConfigSample[];
}

function isReady({ status }: V1Pod): boolean {
  return (status?.conditions ?? []).some(({ type, status: value }) => type === "Ready" && value === "True");
}

function sidecarOf(native: readonly string[], containers: readonly string[]): Sidecar | undefined {
  if (native.includes(PROXY_CONTAINER)) return "native sidecar";
  return containers.includes(PROXY_CONTAINER) ? "container" : undefined;
}

/** Returns the facts about a pod. A native sidecar is an init container that always restarts. */
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

// Older Envoys do not support this filter and return all clusters.
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
 * Takes a sample of the mesh. Pods without a running proxy appear only in the lists of pods.
 * @throws UserError if the cluster or a proxy does not answer
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
