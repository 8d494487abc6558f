import { setTimeout as sleep } from "node:timers/promises";
import { AppsV1Api, CoreV1Api, type V1Pod } from "@kubernetes/client-node";
import type { Settings } from "../../settings/settings.ts";
import { kubectl } from "../../tools/kubectl.ts";
import { kubeConfig, Mesh } from "../../tools/mesh.ts";
import { readStackFile } from "../../stack/stack-file.ts";
import { type EnvoyCluster, parseClusters, parseStats } from "../../tools/verify/envoy.ts";
import { askProxy } from "../../tools/verify/proxy.ts";
import { PROJECT_DIRECTORY, STACK } from "./make.ts";

/** The sample's names. */
export const PROVIDER = "dubbo-samples-mesh-provider";
export const CONSUMER = "dubbo-samples-mesh-consumer";

const POLL_MS = 500;
const SETTLE_SECONDS = 180;
/** Time until Envoy's workers know what its main thread shows. Source: Envoy's CommonLbConfig, update_merge_window, default 1 s. */
const MERGE_MS = 1500;

/** Seconds of this process's clock. */
export function now(): number {
  return performance.now() / 1000;
}

/** Looks twice a second until `look` finds something, and returns it. */
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

/** Name of a pod. */
export function nameOf(pod: V1Pod | undefined): string {
  const name = pod?.metadata?.name;
  if (name === undefined) throw new Error("there is no such pod");
  return name;
}

/** The stack on the cluster, as its file describes it now. */
export class Scene {
  readonly settings: Settings;
  readonly mesh: Mesh;
  readonly #core: CoreV1Api;
  readonly #apps: AppsV1Api;

  private constructor(settings: Settings) {
    this.settings = settings;
    this.mesh = new Mesh(settings);
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

  /** Makes objects in the stack's namespace, or changes them. */
  apply(...objects: object[]): Promise<string> {
    const { namespace } = this.settings;
    const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
    return kubectl(this.settings, ["--namespace", namespace, "apply", "-f", "-"], list);
  }

  /** The provider's clusters that carry calls, as a consumer's Envoy sees them. */
  async clusters(consumer: string): Promise<EnvoyCluster[]> {
    const text = await askProxy(this.mesh, consumer, "clusters?format=json");
    return parseClusters(text, (name) => /^outbound\|\d+\|[^|]+\|/.test(name) && name.includes(PROVIDER));
  }

  /** Health checks of the provider that a consumer's Envoy has made and that have succeeded. */
  async checks(consumer: string): Promise<number> {
    const stats = parseStats(await askProxy(this.mesh, consumer, "stats?filter=health_check.success"));
    return [...stats].reduce((sum, [name, value]) => sum + (name.includes(PROVIDER) ? value : 0), 0);
  }

  /** Waits until as many pods run as are wanted, none starts or ends, and every consumer's Envoy has each provider's pod, healthy. */
  async settled(): Promise<void> {
    await until("the mesh has settled", SETTLE_SECONDS, async () => {
      const { items } = await this.#core.listNamespacedPod({ namespace: this.settings.namespace });
      if (!items.every(isReady) || items.length < (await this.#wanted())) return undefined;
      const addresses = items
        .filter(({ metadata }) => metadata?.labels?.["app"] === PROVIDER)
        .map(({ status }) => status?.podIP ?? "");
      const consumers = await this.mesh.pods(CONSUMER);
      for (const consumer of consumers) {
        const hosts = (await this.clusters(nameOf(consumer))).flatMap((cluster) => cluster.hosts);
        const healthy = hosts.filter(({ problems }) => problems.length === 0);
        const seen = new Set(healthy.map(({ address }) => address.split(":")[0] ?? ""));
        if (hosts.length !== healthy.length || !sameItems(seen, addresses)) return undefined;
      }
      return consumers.length > 0 ? true : undefined;
    });
    await sleep(MERGE_MS);
  }

  /** How many pods the Deployments are to have. */
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
