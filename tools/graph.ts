import { edgesOf, type Service } from "../settings/graph.ts";
import { minReplicas, maxReplicas } from "../settings/scale.ts";
import type { Settings } from "../settings/settings.ts";
import { accountName } from "../settings/model.ts";

/** A version of a service. */
interface VersionNode {
  readonly name: string;
  /** Share of the calls, percent. */
  readonly weight: number;
  /** Minimum number of pods. */
  readonly minPods: number;
  /** Maximum number of pods. */
  readonly maxPods: number;
}

/** A service of the mesh. */
interface ServiceNode {
  readonly name: string;
  readonly port: number;
  /** ServiceAccount of its pods. */
  readonly account: string;
  /** False for a service that offers nothing. Its version has no share of calls. */
  readonly isCalled: boolean;
  readonly versions: readonly VersionNode[];
}

/** Calls of one service to another. */
interface CallEdge {
  readonly caller: string;
  readonly callee: string;
  /** Deadline of a call, such as `30s`. */
  readonly deadline: string;
}

/** Active health checks of one service by another. */
interface CheckEdge {
  readonly caller: string;
  readonly callee: string;
  /** Time between checks, such as `5s`. */
  readonly interval: string;
  /** Number of failed checks that removes an endpoint. */
  readonly threshold: number;
}

/** A mesh as nodes and edges. */
export interface MeshGraph {
  readonly namespace: string;
  readonly services: readonly ServiceNode[];
  readonly calls: readonly CallEdge[];
  readonly checks: readonly CheckEdge[];
}

function serviceNode(service: Service, settings: Settings): ServiceNode {
  const { name, port, offers, versions } = service;
  return {
    name,
    port,
    account: accountName(name, settings),
    isCalled: offers.length > 0,
    versions: versions.map((each) => ({
      name: each.name,
      weight: each.weight,
      minPods: minReplicas(each),
      maxPods: maxReplicas(each),
    })),
  };
}

/** Returns the nodes and edges of a stack's mesh. */
export function meshGraph(settings: Settings): MeshGraph {
  const { namespace, services, injection } = settings;
  const edges = edgesOf(services);
  // Envoy sends the checks, so there are none without a sidecar.
  const checked = injection ? edges : [];
  return {
    namespace,
    services: services.map((service) => serviceNode(service, settings)),
    calls: edges.map(({ caller, callee }) => ({
      caller: caller.name,
      callee: callee.name,
      deadline: caller.timeout,
    })),
    checks: checked.map(({ caller, callee: { name, healthCheck } }) => ({
      caller: caller.name,
      callee: name,
      interval: healthCheck.interval,
      threshold: healthCheck.unhealthy_threshold,
    })),
  };
}

/**
 * Returns a quoted Mermaid label. Its entities begin with `#`.
 * Source: https://mermaid.js.org/syntax/flowchart.html
 */
function label(...lines: readonly string[]): string {
  const escaped = lines.map((line) => line.replaceAll(/[#"&<>`]/g, (sign) => `#${sign.charCodeAt(0)};`));
  return `"${escaped.join("<br/>")}"`;
}

function podsText({ minPods, maxPods }: VersionNode): string {
  if (minPods !== maxPods) return `${minPods} to ${maxPods} pods`;
  return minPods === 1 ? "1 pod" : `${minPods} pods`;
}

function serviceLines({ name, port, account, isCalled, versions }: ServiceNode, id: string): string[] {
  const own = `port ${port}, as ${account}`;
  if (!isCalled) return [`${id}[${label(name, own, ...versions.map(podsText))}]`];
  const nodes = versions.map((version, index) => `${id}v${index}[${label(version.name, podsText(version))}]`);
  return [`${id}[${label(name, own)}]`, ...nodes];
}

function weightLines({ isCalled, versions }: ServiceNode, id: string): string[] {
  if (!isCalled) return [];
  return versions.map(({ weight }, index) => `${id} -->|${label(`${weight} %`)}| ${id}v${index}`);
}

/**
 * Returns a mesh as a Mermaid flowchart, which GitHub renders. Solid edges are calls and their
 * shares, dotted edges are active health checks.
 */
export function mermaid({ namespace, services, calls, checks }: MeshGraph): string {
  const ids = new Map(services.map(({ name }, index) => [name, `s${index}`]));
  const id = (name: string): string => ids.get(name) ?? "";
  const callLines = calls.map(
    ({ caller, callee, deadline }) =>
      `${id(caller)} -->|${label(`calls, within ${deadline}`)}| ${id(callee)}`,
  );
  const checkLines = checks.map(({ caller, callee, interval, threshold }) => {
    const failures = threshold === 1 ? "1 failure" : `${threshold} failures`;
    return `${id(caller)} -.->|${label(`checks every ${interval}`, `out after ${failures}`)}| ${id(callee)}`;
  });
  const lines = [
    `subgraph mesh[${label(`namespace ${namespace}`)}]`,
    ...services.flatMap((service) => serviceLines(service, id(service.name)).map((line) => `  ${line}`)),
    "end",
    ...services.flatMap((service) => weightLines(service, id(service.name))),
    ...callLines,
    ...checkLines,
  ];
  return ["flowchart LR", ...lines.map((line) => `  ${line}`)].join("\n");
}
