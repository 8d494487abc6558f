import { readFileSync } from "node:fs";
import type { V1Pod } from "@kubernetes/client-node";
import { type Expected, expectedOf } from "../../../tools/verify/expected.ts";
import type { Check } from "../../../tools/verify/check.ts";
import { judge } from "../../../tools/verify/judge.ts";
import type { MeshReader } from "../../../tools/verify/proxy.ts";
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
 * What a live mesh said (Kubernetes 1.34, Istio of August 2026, Envoy 1.40), cut down to what is read, and to four greet calls a log: see recorded/. Each case is two looks
 * about ten seconds apart. The cases:
 * - good: the project's EnvoyFilter
 * - sample: the sample's EnvoyFilter, which matches the cluster without subset and picks the transport socket by `useMTLS`
 * - plain: the same check on the cluster that carries the calls
 * - hung: a provider's process is stopped
 * - starting: a provider's pod was deleted, and its successor is not ready yet
 */
export type Case = "good" | "sample" | "plain" | "hung" | "starting";

/** A look at a recorded mesh. */
export interface Recording {
  pods: V1Pod[];
  clusters: {
    cluster_statuses: {
      name: string;
      host_statuses: { address: { socket_address: { address: string } } }[];
    }[];
  };
  checked: object;
  listeners: object;
  stats: string[];
  logs: Record<string, string[]>;
}

export function recording(name: Case, moment: "before" | "after"): Recording {
  const path = new URL(`recorded/${name}-${moment}.json`, import.meta.url);
  const recorded = JSON.parse(readFileSync(path, "utf8")) as Omit<Recording, "listeners">;
  return { listeners: listeners("listeners"), ...recorded };
}

/** The listeners of the consumer's Envoy; `listeners-refused` with a tracer of which it is told no cluster. */
export function listeners(name: "listeners" | "listeners-refused"): object {
  const path = new URL(`recorded/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(path, "utf8")) as object;
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

  /** @param looks what it says at each look; the last one stays */
  constructor(...looks: [Recording, ...Recording[]]) {
    this.#looks = looks;
    this.#current = looks[0];
  }

  pods(application: string): Promise<V1Pod[]> {
    // The provider's pods are the first thing that a look asks for.
    if (application === EXPECTED.provider) this.#current = this.#looks.shift() ?? this.#current;
    return Promise.resolve(
      this.#current.pods.filter(({ metadata }) => metadata?.labels?.["app"] === application),
    );
  }

  log(pod: string, container = ""): Promise<string> {
    if (container !== "istio-proxy") throw new Error(`the log of ${container} was not recorded`);
    return Promise.resolve((this.#current.logs[pod] ?? []).join("\n"));
  }

  exec(pod: string, container: string, command: string[]): Promise<string> {
    const { clusters, checked, listeners: sent, stats } = this.#current;
    const [program, verb, method, path = ""] = command;
    if ([container, program, verb, method].join(" ") !== "istio-proxy pilot-agent request GET") {
      throw new Error(`${command.join(" ")} in ${pod} was not recorded`);
    }
    const answers: Record<string, string> = {
      clusters: JSON.stringify(clusters),
      config_dump: JSON.stringify(path.includes("resource=dynamic_listeners") ? sent : checked),
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
