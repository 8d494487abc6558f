import type { V1ContainerStatus, V1Pod } from "@kubernetes/client-node";
import { type AccessLogLine, parseAccessLog } from "./access-log.ts";
import { type EnvoyCluster, parseClusters, parseStats } from "./envoy.ts";
import { CLUSTER_CONFIGS, parseClusterConfigs } from "./envoy-config.ts";
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

/** Request for the outbound clusters. Older Envoys do not support this filter and return all. */
export const CLUSTERS = "clusters?format=json&filter=^outbound";
const STATS = "stats?filter=^cluster\\.outbound.*\\.(health_check\\.|ssl\\.handshake)";

async function callerSample(mesh: MeshReader, pod: string, expected: Expected): Promise<CallerSample> {
  const [clusters, configs, stats, log] = await Promise.all([
    askProxy(mesh, pod, CLUSTERS),
    askProxy(mesh, pod, CLUSTER_CONFIGS),
    askProxy(mesh, pod, STATS),
    proxyLog(mesh, pod),
  ]);
  const wanted = (name: string): boolean => isProviderCluster(expected, name);
  return {
    pod,
    clusters: parseClusters(clusters, wanted),
    checked: parseClusterConfigs(configs)
      .filter(({ name, health_checks: checks }) => wanted(name) && checks.length > 0)
      .map(({ name }) => name),
    counters: parseStats(stats),
    log,
  };
}

/** Returns the pods of an application. */
export async function podsOf(mesh: MeshReader, application: string): Promise<PodSample[]> {
  return (await mesh.pods(application)).map(podSample);
}

/**
 * Returns the answer of a pod; undefined if the pod has ended meanwhile. A pod may end at any time,
 * such as during a rollout.
 * @throws the error of the answer if the pod and its proxy still run
 */
export async function whileAlive<T>(
  mesh: MeshReader,
  application: string,
  pod: string,
  answer: Promise<T>,
): Promise<T | undefined> {
  return answer.catch(async (error: unknown) => {
    const pods = await podsOf(mesh, application);
    if (pods.some(({ name, proxyRuns }) => name === pod && proxyRuns)) throw error;
    return undefined;
  });
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
  const [callers, callees] = await Promise.all([
    Promise.all(
      calling.map(({ name }) => whileAlive(mesh, consumer, name, callerSample(mesh, name, expected))),
    ),
    Promise.all(
      called.map(async ({ name: pod, version }) => {
        const log = await whileAlive(mesh, provider, pod, proxyLog(mesh, pod));
        return log === undefined ? undefined : { pod, version, log };
      }),
    ),
  ]);
  return {
    providers,
    consumers,
    callers: callers.filter((caller) => caller !== undefined),
    callees: callees.filter((callee) => callee !== undefined),
  };
}
