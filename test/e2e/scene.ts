import { setTimeout as sleep } from "node:timers/promises";
import { AppsV1Api, CoreV1Api, type V1Pod } from "@kubernetes/client-node";
import type { Settings } from "../../settings/settings.ts";
import { kubectl } from "../../tools/kubectl.ts";
import { kubeConfig, LiveMesh } from "../../tools/mesh.ts";
import { readStackFile } from "../../stack/stack-file.ts";
import { type EnvoyCluster, parseClusters, parseStats } from "../../tools/verify/envoy.ts";
import { askProxy } from "../../tools/verify/proxy.ts";
import { PROJECT_DIRECTORY, STACK } from "./make.ts";

/** Service names of the sample. */
export const PROVIDER = "dubbo-samples-mesh-provider";
export const CONSUMER = "dubbo-samples-mesh-consumer";

const POLL_MS = 500;
const SETTLE_SECONDS = 180;
/**
 * Time until Envoy's workers have the state that its main thread shows, ms.
 * Source: Envoy's CommonLbConfig, update_merge_window, default 1 s.
 */
const MERGE_MS = 1500;

/** Returns the clock of this process, seconds. */
export function now(): number {
  return performance.now() / 1000;
}

/**
 * Polls twice per second until `look` returns a value, and returns it.
 * @throws Error if there is no value within `seconds`
 */
export async function until<T>(
  what: string,
  seconds: number,
  look: () => Promise<T | undefined>,
): Promise<T> {
  const end = now() + seconds;
  while (now() < end) {
    const found = await look();
    if (found !== undefined) return found;
    await sleep(POLL_MS);
  }
  throw new Error(`${what}: not within ${seconds} s`);
}

/**
 * Returns the name of a pod.
 * @throws Error if there is no pod
 */
export function nameOf(pod: V1Pod | undefined): string {
  const name = pod?.metadata?.name;
  if (name === undefined) throw new Error("there is no such pod");
  return name;
}

/** A stack on the cluster, as its file describes it now. */
export class Scene {
  readonly settings: Settings;
  readonly mesh: LiveMesh;
  readonly #core: CoreV1Api;
  readonly #apps: AppsV1Api;

  private constructor(settings: Settings) {
    this.settings = settings;
    this.mesh = new LiveMesh(settings);
    this.#core = kubeConfig(settings).makeApiClient(CoreV1Api);
    this.#apps = kubeConfig(settings).makeApiClient(AppsV1Api);
  }

  static async now(): Promise<Scene> {
    return new Scene((await readStackFile(PROJECT_DIRECTORY, STACK)).settings);
  }

  /** Runs kubectl in the stack's namespace. */
  kubectl(...args: string[]): Promise<string> {
    return kubectl(this.settings, ["--namespace", this.settings.namespace, ...args]);
  }

  /** Creates or updates objects in the stack's namespace. */
  apply(...objects: object[]): Promise<string> {
    const { namespace } = this.settings;
    const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
    return kubectl(this.settings, ["--namespace", namespace, "apply", "-f", "-"], list);
  }

  /** Returns the provider's clusters that carry calls, from the Envoy of a consumer. */
  async clusters(consumer: string): Promise<EnvoyCluster[]> {
    const text = await askProxy(this.mesh, consumer, "clusters?format=json");
    return parseClusters(text, (name) => /^outbound\|\d+\|[^|]+\|/.test(name) && name.includes(PROVIDER));
  }

  /** Returns the number of successful health checks of the provider by a consumer's Envoy. */
  async checks(consumer: string): Promise<number> {
    const stats = parseStats(await askProxy(this.mesh, consumer, "stats?filter=health_check.success"));
    return [...stats].reduce((sum, [name, value]) => sum + (name.includes(PROVIDER) ? value : 0), 0);
  }

  /**
   * Waits until the mesh is settled.
   * All wanted pods run and none starts or ends. Every consumer's Envoy has exactly the provider's
   * pods, all healthy.
   */
  async settled(): Promise<void> {
    await until("the mesh has settled", SETTLE_SECONDS, async () => {
      const { items } = await this.#core.listNamespacedPod({ namespace: this.settings.namespace });
      if (!items.every(isReady) || items.length < (await this.#wanted())) return undefined;
      const addresses = items
        .filter(({ metadata }) => metadata?.labels?.["app"] === PROVIDER)
        .map(({ status }) => status?.podIP ?? "");
      const consumers = await this.mesh.pods(CONSUMER);
      for (const consumer of consumers) {
        // A pod may end while it is asked.
        const clusters = await this.clusters(nameOf(consumer)).catch(() => undefined);
        if (clusters === undefined) return undefined;
        const hosts = clusters.flatMap((cluster) => cluster.hosts);
        const healthy = hosts.filter(({ problems }) => problems.length === 0);
        const seen = new Set(healthy.map(({ address }) => address.split(":")[0] ?? ""));
        if (hosts.length !== healthy.length || !sameItems(seen, addresses)) return undefined;
      }
      return consumers.length > 0 ? true : undefined;
    });
    await sleep(MERGE_MS);
  }

  /** Returns the number of pods that the Deployments want. */
  async #wanted(): Promise<number> {
    const { items } = await this.#apps.listNamespacedDeployment({ namespace: this.settings.namespace });
    return items.reduce((sum, { spec }) => sum + (spec?.replicas ?? 0), 0);
  }
}

function isReady({ metadata, status }: V1Pod): boolean {
  const ready = status?.conditions?.some(({ type, status: is }) => type === "Ready" && is === "True");
  return metadata?.deletionTimestamp === undefined && ready === true;
}

function sameItems(seen: ReadonlySet<string>, wanted: readonly string[]): boolean {
  return seen.size === wanted.length && wanted.every((item) => seen.has(item));
}
