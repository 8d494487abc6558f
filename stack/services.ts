import type * as pulumi from "@pulumi/pulumi";
import { DubboService, type ServiceCalls, type ServiceVersion } from "../components/service.ts";
import { ProviderRoutes } from "../components/traffic.ts";
import { milliseconds } from "../settings/duration.ts";
import { calleesFirst, callsOf, type Service } from "../settings/graph.ts";
import { proxyAnnotations } from "../settings/resources.ts";
import type { Settings } from "../settings/settings.ts";
import type { Versions } from "./images.ts";
import { type CallRules, rulesOf, trafficArgs } from "./rules.ts";
import type { Surroundings } from "./surroundings.ts";

/** Declares the routes to a service, after its pods and its subsets; none to one that offers nothing. */
function routesTo(
  service: Service,
  dependsOn: pulumi.Resource[],
  surroundings: Surroundings,
): pulumi.Resource[] {
  if (service.offers.length === 0) return [];
  const { name } = service;
  const args = { ...trafficArgs(service, surroundings), traffic: `${name}-traffic` };
  return [new ProviderRoutes(`${name}-routes`, args, { ...surroundings.opts, dependsOn })];
}

function serviceCalls(service: Service, { services }: Settings): ServiceCalls | undefined {
  const { interval } = service;
  const calls = callsOf(service, services);
  return calls && { ...calls, intervalMs: interval === undefined ? undefined : milliseconds(interval) };
}

function dubboService(
  service: Service,
  versions: readonly ServiceVersion[],
  { settings, mesh, opts }: Surroundings,
  dependsOn: pulumi.Resource[],
): DubboService {
  const { name, offers } = service;
  const args = {
    ...service,
    application: name,
    namespace: mesh.namespace,
    serviceAccount: mesh.accountOf(name),
    clusterDomain: settings.clusterDomain,
    called: offers.length > 0,
    calls: serviceCalls(service, settings),
    annotations: proxyAnnotations(settings.proxy),
    versions,
    protect: settings.production,
  };
  return new DubboService(name, args, { ...opts, dependsOn });
}

/**
 * Declares the services, each after the rules of its calls and after the routes to what it calls: a call finds all
 * of them from the first to the last. In a cycle of calls, the routes to one service come after its callers; an
 * application on Node.js waits for its providers.
 */
export function dubboServices(
  run: Versions,
  rules: CallRules,
  surroundings: Surroundings,
): ReadonlyMap<string, DubboService> {
  const { settings } = surroundings;
  const made = new Map<string, DubboService>();
  const routes = new Map<string, pulumi.Resource[]>();
  for (const service of calleesFirst(settings.services)) {
    const { name, calls } = service;
    const before = [
      ...rulesOf(service, rules, settings),
      ...calls.flatMap((callee) => routes.get(callee) ?? []),
    ];
    const deployed = dubboService(service, run.get(name) ?? [], surroundings, before);
    const traffic = rules.traffic.get(name);
    made.set(name, deployed);
    routes.set(name, routesTo(service, [deployed, ...(traffic ? [traffic] : [])], surroundings));
  }
  return made;
}
