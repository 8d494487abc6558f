import { readFileSync } from "node:fs";
import type { V1Pod } from "@kubernetes/client-node";
import { type Expected, expectedOf } from "../../../tools/verify/expected.ts";
import type { Check } from "../../../tools/verify/check.ts";
import { judge } from "../../../tools/verify/judge.ts";
import type { MeshReader } from "../../../tools/verify/proxy.ts";
import type { ControlPlane } from "../../../tools/verify/sync.ts";
import { sampleMesh } from "../../../tools/verify/sample.ts";
import { parseSettings, type Settings } from "../../../settings/settings.ts";

/** The stack whose mesh was recorded: the defaults. */
export const SETTINGS = parseSettings({ cluster: "local" });
export const EXPECTED = edgeOf(SETTINGS);

/** What is expected of the one edge of a stack's call graph. */
function edgeOf(settings: Settings): Expected {
  const [edge, ...others] = expectedOf(settings);
  if (edge === undefined || others.length > 0) throw new Error("not one edge");
  return edge;
}

/**
 * Answers of a live mesh (Kubernetes 1.34, Istio of August 2026, Envoy 1.40) in recorded/, reduced
 * to what is read and to four greet calls a log. Each case has two looks, ten seconds apart:
 * - good: the project's EnvoyFilter
 * - sample: the sample's EnvoyFilter, which matches the cluster without subset and picks the
 *   transport socket by `useMTLS`
 * - plain: the same check on the cluster that carries the calls
 * - hung: a provider's process is stopped
 * - starting: a provider's pod was deleted, and its successor is not ready yet
 */
export type Case = "good" | "sample" | "plain" | "hung" | "starting";

/** A look at a recorded mesh. */
export interface Recording {
  configuration: Configuration;
  pods: V1Pod[];
  clusters: {
    cluster_statuses: {
      name: string;
      host_statuses: { address: { socket_address: { address: string } } }[];
    }[];
  };
  checked: { configs: { cluster: { name: string; health_checks?: object[] } }[] };
  listeners: object;
  stats: string[];
  logs: Record<string, string[]>;
}

export function recording(name: Case, moment: "before" | "after"): Recording {
  const path = new URL(`recorded/${name}-${moment}.json`, import.meta.url);
  const recorded = JSON.parse(readFileSync(path, "utf8")) as Omit<Recording, "listeners" | "configuration">;
  return { listeners: listeners("listeners"), configuration: configuration(), ...recorded };
}

/** Listeners of the consumer's Envoy; those refused have a tracer with an unknown cluster. */
export function listeners(name: "listeners" | "listeners-refused"): object {
  const path = new URL(`recorded/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(path, "utf8")) as object;
}

type Fields = Record<string, unknown>;
type LiveCluster = Fields & { name: string };
type LiveRoute = Fields & { route: Fields };
type LiveChain = Fields & { name: string; transport_socket?: Fields | undefined; filters: Fields[] };

/**
 * Parts of Envoy's configuration in a live mesh of the default stack (Kubernetes 1.35, Istio of
 * August 2026, Envoy 1.40), reduced to the fields that are read.
 */
export interface Configuration {
  /** Clusters of the consumer. */
  clusters: { configs: { cluster: LiveCluster }[] };
  /** Routes of the consumer. */
  routes: { configs: { route_config: { virtual_hosts: { routes: LiveRoute[] }[] } }[] };
  /** Inbound listener of the provider. */
  inbound: { configs: { active_state: { listener: { filter_chains: LiveChain[] } } }[] };
}

/** Returns the recorded configuration. */
export function configuration(): Configuration {
  const path = new URL("recorded/configuration.json", import.meta.url);
  return JSON.parse(readFileSync(path, "utf8")) as Configuration;
}

/** Returns an istiod to which all pods of a recording are connected. */
export function istiodOf({ pods }: Recording): ControlPlane {
  const conditions = [{ type: "Ready", status: "True" }];
  const istiod = podOf({ metadata: { name: "istiod" }, spec: { containers: [] }, status: { conditions } });
  const proxies = pods.map(({ metadata }) => ({ proxy: `${metadata?.name ?? ""}.${SETTINGS.namespace}` }));
  return { pods: () => Promise.resolve([istiod]), exec: () => Promise.resolve(JSON.stringify(proxies)) };
}

/** A pod as the API server sends it. */
export function podOf(pod: object): V1Pod {
  return JSON.parse(JSON.stringify(pod)) as V1Pod;
}

/** What Envoy's `filter` lets through. */
function filterOf(path: string): RegExp {
  return new RegExp(new URLSearchParams(path.split("?")[1]).get("filter") ?? "");
}

/** A mesh that says what was recorded. */
export class RecordedMesh implements MeshReader {
  readonly namespace = SETTINGS.namespace;
  readonly #looks: Recording[];
  #current: Recording;
  /** True before the first look, and after a pod was asked. */
  #ended = true;

  /** @param looks what it says at each look; the last one stays */
  constructor(...looks: [Recording, ...Recording[]]) {
    this.#looks = looks;
    this.#current = looks[0];
  }

  pods(application: string): Promise<V1Pod[]> {
    // A look asks for all pods first.
    if (this.#ended) this.#current = this.#looks.shift() ?? this.#current;
    this.#ended = false;
    return Promise.resolve(
      this.#current.pods.filter(({ metadata }) => metadata?.labels?.["app"] === application),
    );
  }

  log(pod: string, container = ""): Promise<string> {
    this.#ended = true;
    if (container !== "istio-proxy") throw new Error(`the log of ${container} was not recorded`);
    return Promise.resolve((this.#current.logs[pod] ?? []).join("\n"));
  }

  /** Returns a part of Envoy's configuration. The checks are those of the recorded case. */
  #dump(pod: string, path: string): object {
    const { checked, listeners: sent, configuration: live } = this.#current;
    const called = pod.startsWith(EXPECTED.provider);
    if (path.includes("name_regex=virtualInbound")) return live.inbound;
    if (path.includes("resource=dynamic_listeners")) return sent;
    if (path.includes("resource=dynamic_route_configs")) return called ? {} : live.routes;
    const configs = live.clusters.configs.filter(
      ({ cluster }) => !called || cluster.name.includes("istio-system"),
    );
    const checks = ({ name }: { name: string }): object[] =>
      checked.configs.find(({ cluster }) => cluster.name === name)?.cluster.health_checks ?? [];
    return {
      configs: configs.map(({ cluster }) => ({ cluster: { ...cluster, health_checks: checks(cluster) } })),
    };
  }

  exec(pod: string, container: string, command: string[]): Promise<string> {
    this.#ended = true;
    const { clusters, stats } = this.#current;
    const [program, verb, method, path = ""] = command;
    if ([container, program, verb, method].join(" ") !== "istio-proxy pilot-agent request GET") {
      throw new Error(`${command.join(" ")} in ${pod} was not recorded`);
    }
    const answers: Record<string, string> = {
      clusters: JSON.stringify(clusters),
      config_dump: JSON.stringify(this.#dump(pod, path)),
      stats: stats.filter((line) => filterOf(path).test(line.split(": ")[0] ?? "")).join("\n"),
    };
    const answer = answers[path.replace(/\?.*/, "")];
    return answer === undefined
      ? Promise.reject(new Error(`${path} was not recorded`))
      : Promise.resolve(answer);
  }
}

/** The checks of two looks at a mesh. */
export async function judged(before: Recording, after: Recording, expected = EXPECTED): Promise<Check[]> {
  const mesh = new RecordedMesh(before, after);
  return judge(expected, await sampleMesh(mesh, expected), await sampleMesh(mesh, expected));
}

/** The checks of a recorded case. */
export async function judgedCase(name: Case): Promise<Check[]> {
  return judged(recording(name, "before"), recording(name, "after"));
}
