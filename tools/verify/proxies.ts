import { edgesOf, maxPods, type Service } from "../../settings/graph.ts";
import type { MeshModel } from "../../settings/model.ts";
import { hostOf } from "../../settings/model.ts";
import { type Check, count, list } from "./check.ts";
import { type Listeners, parseListeners, parseStats } from "./envoy.ts";
import {
  allowRules,
  checkFacts,
  CLUSTER_CONFIGS,
  type ClusterConfig,
  type FilterChain,
  parseClusterConfigs,
  parseInboundChains,
  parseVirtualHosts,
  policyFacts,
  routeFacts,
  routesTo,
  transportText,
  type VirtualHost,
} from "./envoy-config.ts";
import {
  expectedCheck,
  expectedPolicy,
  expectedRoutes,
  expectedRules,
  expectedTransport,
  isKnown,
} from "./expected-config.ts";
import { clusterName } from "./expected.ts";
import { differences, type Facts } from "./facts.ts";
import { askProxy, type MeshReader } from "./proxy.ts";
import { type PodSample, podsOf, whileAlive } from "./sample.ts";

/** Configuration of a proxy, as its Envoy obeys it. */
export interface ProxySample {
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
  /** Clusters of outbound calls. */
  readonly clusters: readonly ClusterConfig[];
  /** Outbound routes by host. */
  readonly hosts: readonly VirtualHost[];
  /** Inbound filter chains of the service's port. */
  readonly chains: readonly FilterChain[];
}

const ROUTES = "config_dump?resource=dynamic_route_configs&mask=route_config.virtual_hosts";
const LISTENERS = "config_dump?resource=dynamic_listeners&mask=name,error_state.details";
const INBOUND = "config_dump?resource=dynamic_listeners&name_regex=virtualInbound";
const REFUSED_CLUSTERS = "cluster_manager.cds.update_rejected";

async function sampleProxy(
  mesh: MeshReader,
  { name: pod }: PodSample,
  service: Service,
): Promise<ProxySample> {
  const [clusters, routes, listeners, inbound, stats] = await Promise.all([
    askProxy(mesh, pod, CLUSTER_CONFIGS),
    askProxy(mesh, pod, ROUTES),
    askProxy(mesh, pod, LISTENERS),
    askProxy(mesh, pod, INBOUND),
    askProxy(mesh, pod, `stats?filter=^${REFUSED_CLUSTERS}$`),
  ]);
  return {
    pod,
    application: service.name,
    listeners: parseListeners(listeners),
    refusedClusters: parseStats(stats).get(REFUSED_CLUSTERS) ?? 0,
    clusters: parseClusterConfigs(clusters).filter(({ name }) => name.startsWith("outbound|")),
    hosts: parseVirtualHosts(routes),
    chains: parseInboundChains(inbound, service.port),
  };
}

/** Returns the configuration of all proxies of the stack that run. */
export async function sampleProxies(mesh: MeshReader, { services }: MeshModel): Promise<ProxySample[]> {
  const samples = services.map(async (service) => {
    const pods = (await podsOf(mesh, service.name)).filter(({ proxyRuns }) => proxyRuns);
    return Promise.all(
      pods.map((pod) => whileAlive(mesh, service.name, pod.name, sampleProxy(mesh, pod, service))),
    );
  });
  return (await Promise.all(samples)).flat().filter((sample) => sample !== undefined);
}

/** Live facts of one proxy. */
interface Compared {
  readonly pod: string;
  readonly seen: Facts;
}

/** Compares the live facts of several proxies to the configured ones. */
function compare(
  check: Check["check"],
  of: string,
  expected: Facts,
  proxies: readonly Compared[],
  things: string,
): Check {
  const found = proxies.flatMap(({ pod, seen }) =>
    differences(expected, seen).map((difference) => ({ pod, ...difference })),
  );
  const wrong = new Set(found.map(({ pod }) => pod));
  const seen = found.map(({ subject, seen: value }) => `${subject}: ${value}`);
  const wanted = found.map(({ subject, expected: value }) => `${subject}: ${value}`);
  const where = wrong.size < proxies.length ? `${list([...wrong])}: ` : "";
  return {
    check,
    of,
    seen:
      found.length === 0
        ? `${things}, as configured, in ${count(proxies.length, "proxy", "proxies")}`
        : where + list([...new Set(seen)]),
    expected: found.length === 0 ? "as configured" : list([...new Set(wanted)]),
    ok: found.length === 0,
  };
}

/** Returns facts about all of a callee's clusters: one value where they agree, else one each. */
function clusterChecks(
  check: Check["check"],
  of: string,
  { callee, model }: { readonly callee: Service; readonly model: MeshModel },
  proxies: readonly ProxySample[],
  [expected, factsOf]: readonly [Facts, (cluster: ClusterConfig) => Facts],
): Check {
  const names = callee.versions.map(({ name }) => name);
  const bySubset = (facts: (subset: string) => Facts): Facts =>
    Object.fromEntries(
      names.flatMap((name) => {
        const prefix = names.length === 1 ? "" : `${name} `;
        return Object.entries(facts(name)).map(([subject, value]) => [prefix + subject, value] as const);
      }),
    );
  const host = hostOf(callee, model);
  const live = ({ pod, clusters }: ProxySample): Compared => ({
    pod,
    seen: bySubset((name) => {
      const wanted = clusterName({ host, port: callee.port }, name);
      const cluster = clusters.find((one) => one.name === wanted);
      return cluster === undefined ? {} : factsOf(cluster);
    }),
  });
  const things = count(names.length, "cluster");
  return compare(
    check,
    of,
    bySubset(() => expected),
    proxies.map(live),
    things,
  );
}

/** Checks the outbound configuration of a caller for one of its callees. */
function edgeChecks(
  caller: Service,
  callee: Service,
  model: MeshModel,
  all: readonly ProxySample[],
): Check[] {
  const proxies = all.filter(({ application }) => application === caller.name);
  if (proxies.length === 0) return [];
  const of = `${caller.name} to ${callee.name}`;
  const routes = expectedRoutes(callee, model);
  const host = hostOf(callee, model);
  const live = proxies.map(({ pod, hosts }) => ({
    pod,
    seen: routeFacts(routesTo(hosts, host, callee.port)),
  }));
  const edge = { callee, model };
  return [
    compare("routes", of, routes, live, count(Object.keys(routes).length, "route")),
    clusterChecks("traffic policy", of, edge, proxies, [expectedPolicy(callee, model), policyFacts]),
    clusterChecks("check settings", of, edge, proxies, [expectedCheck(callee, model), checkFacts]),
  ];
}

function rulesText(rules: readonly string[] | undefined): string {
  if (rules === undefined) return "every caller";
  return rules.length === 0 ? "no caller" : rules.join(", ");
}

/** Checks the inbound configuration of a service that others call. */
function inboundChecks(service: Service, model: MeshModel, all: readonly ProxySample[]): Check[] {
  const proxies = all.filter(({ application }) => application === service.name);
  if (service.offers.length === 0 || proxies.length === 0) return [];
  const port = `port ${service.port}`;
  const transport = proxies.map(({ pod, chains }) => ({ pod, seen: { [port]: transportText(chains) } }));
  const expected = { [port]: expectedTransport(model) };
  const checks = [compare("transport", service.name, expected, transport, expected[port] ?? "")];
  const rules = expectedRules(service, model);
  if (rules === undefined) return checks;
  const admitted = proxies.map(({ pod, chains }) => ({
    pod,
    seen: { "admitted by": rulesText(allowRules(chains)) },
  }));
  const things = count(rules.length, "rule");
  return [
    ...checks,
    compare("authorization", service.name, { "admitted by": rulesText(rules) }, admitted, things),
  ];
}

function hostOfCluster(name: string): string {
  return name.split("|").at(-1) ?? "";
}

/** Checks that a service's proxies know only the hosts that its Sidecar resource allows. */
function scopeCheck(service: Service, model: MeshModel, all: readonly ProxySample[]): Check[] {
  const proxies = all.filter(({ application }) => application === service.name);
  if (proxies.length === 0) return [];
  const known = new Set(proxies.flatMap(({ clusters }) => clusters.map(({ name }) => hostOfCluster(name))));
  const foreign = [...known].filter((host) => !isKnown(host, service, model)).sort();
  return [
    {
      check: "scope",
      of: service.name,
      seen: `${count(known.size, "host")}${foreign.length === 0 ? "" : `, such as ${list(foreign)}`}`,
      expected: "its callees, and Istio's namespace",
      ok: foreign.length === 0,
    },
  ];
}

/** Checks that the proxies of a service accept istiod's configuration. Only they log rejections. */
function configCheck({ name: of }: Service, all: readonly ProxySample[]): Check[] {
  const own = all.filter(({ application }) => application === of);
  if (own.length === 0) return [];
  const refusing = own.filter(({ listeners }) => listeners.refused.length > 0);
  const reasons = refusing.map(({ pod, listeners }) => `${pod}: ${list(listeners.refused)}`);
  const total = own.reduce((sum, { listeners }) => sum + listeners.count, 0);
  const clusters = own.reduce((sum, { refusedClusters }) => sum + refusedClusters, 0);
  const taken = `${count(total, "listener")} of ${count(own.length, "proxy", "proxies")}`;
  return [
    {
      check: "config",
      of,
      seen: `${refusing.length === 0 ? taken : list(reasons)}; ${count(clusters, "update")} of clusters refused so far`,
      expected: "no listener is refused",
      ok: refusing.length === 0 && own.every(({ listeners }) => listeners.count > 0),
    },
  ];
}

/** Compares the configuration that the proxies obey to that of the stack. */
export function judgeProxies(model: MeshModel, all: readonly ProxySample[]): Check[] {
  const running = model.services.filter((service) => maxPods(service) > 0);
  return [
    ...running.flatMap((service) => configCheck(service, all)),
    ...running.flatMap((service) => inboundChecks(service, model, all)),
    ...running.flatMap((service) => scopeCheck(service, model, all)),
    ...edgesOf(model.services).flatMap(({ caller, callee }) => edgeChecks(caller, callee, model, all)),
  ];
}
