import * as pulumi from "@pulumi/pulumi";
import { MeshDashboard } from "../components/dashboard.ts";
import { ActiveHealthCheck } from "../components/health-check.ts";
import { MeshNamespace } from "../components/namespace.ts";
import { MeshNetworkPolicy } from "../components/network-policy.ts";
import { MeshSecurity } from "../components/security.ts";
import { DubboService, type ServiceCalls, type ServiceVersion } from "../components/service.ts";
import { SidecarScope } from "../components/sidecar-scope.ts";
import { ProviderRoutes, ProviderTraffic, type ProviderTrafficArgs } from "../components/traffic.ts";
import { milliseconds } from "../lib/duration.ts";
import { calleesFirst, calleesOf, callersOf, callsOf, type Service } from "../lib/graph.ts";
import { listOperation } from "../lib/istio.ts";
import { envoyFilterName } from "../lib/names.ts";
import { namespaceOfHost } from "../lib/observability.ts";
import { proxyAnnotations } from "../lib/resources.ts";
import type { Settings } from "../settings.ts";
import type { Versions } from "./images.ts";

/** ServiceAccount of all applications that have none of their own, and name of their rights. Source: the seed, 3.2. */
const SHARED_ACCOUNT = "dubbo-sa";

function accountName(application: string, { security }: Settings): string {
  return security.identities === "shared" ? SHARED_ACCOUNT : application;
}

/** The namespace, with its accounts. */
export function meshNamespace(settings: Settings, opts: pulumi.ComponentResourceOptions): MeshNamespace {
  const { namespace: name, injection, revision, accessLogs, security, services } = settings;
  const { identities, podSecurity } = security;
  const { tracing } = settings.observability;
  const args = { name, injection, revision, accessLogs, tracing, podSecurity };
  const own = identities === "shared" ? [] : services.map((service) => service.name);
  const accounts = { serviceAccount: SHARED_ACCOUNT, identities: own };
  return new MeshNamespace("mesh", { ...args, ...accounts, protect: settings.production }, opts);
}

/** What every component of a service is placed in. */
export interface Surroundings {
  readonly settings: Settings;
  readonly mesh: MeshNamespace;
  readonly opts: pulumi.ComponentResourceOptions;
}

function hostOf({ name }: Service, { settings, mesh }: Surroundings): pulumi.Output<string> {
  return pulumi.interpolate`${name}.${mesh.namespace}.svc.${settings.clusterDomain}`;
}

function trafficArgs(service: Service, surroundings: Surroundings): ProviderTrafficArgs {
  const { name, versions, methods, routes, traffic } = service;
  const subsets = versions.map(({ name: subset, weight }) => ({ name: subset, weight }));
  const rules = { host: hostOf(service, surroundings), subsets, methods, routes, ...traffic };
  return { name, namespace: surroundings.mesh.namespace, rules };
}

/** How a service is called: nobody has to be told of one that offers nothing. */
export function trafficRules(service: Service, surroundings: Surroundings): pulumi.Resource[] {
  if (service.offers.length === 0) return [];
  const args = trafficArgs(service, surroundings);
  return [new ProviderTraffic(`${service.name}-traffic`, args, surroundings.opts)];
}

/** The routes to a service, which come after its pods: calls do not go to those that are not ready. */
function routesTo(service: Service, deployed: DubboService, surroundings: Surroundings): pulumi.Resource[] {
  if (service.offers.length === 0) return [];
  const { name } = service;
  const args = { ...trafficArgs(service, surroundings), traffic: `${name}-traffic` };
  return [new ProviderRoutes(`${name}-routes`, args, { ...surroundings.opts, dependsOn: deployed })];
}

/** What the proxies of a service are told of: what it calls. */
export function sidecarScope(service: Service, surroundings: Surroundings): SidecarScope {
  const { settings, mesh, opts } = surroundings;
  const calls = calleesOf(settings.services, service).map((callee) => hostOf(callee, surroundings));
  const { service: collector } = settings.observability.tracing ?? {};
  const proxyCalls = collector === undefined ? [] : [collector];
  const args = { application: service.name, namespace: mesh.namespace, calls, proxyCalls };
  return new SidecarScope(`${service.name}-scope`, args, opts);
}

/** The active checks of what a caller calls. */
export function healthChecks(caller: Service, surroundings: Surroundings): ActiveHealthCheck {
  const { settings, mesh, opts } = surroundings;
  const providers = calleesOf(settings.services, caller).map((callee) => ({
    host: hostOf(callee, surroundings),
    port: callee.port,
    subsets: callee.versions.map(({ name }) => name),
    service: callee.offers[0] ?? "",
    healthCheck: callee.healthCheck,
  }));
  const args = {
    name: envoyFilterName(caller.name),
    namespace: mesh.namespace,
    caller: caller.name,
    providers,
    operation: listOperation(settings.istio),
  };
  return new ActiveHealthCheck(`${caller.name}-health-check`, args, opts);
}

/** Namespaces of this cluster that traces are sent to. */
function collectorsOf({ observability: { tracing }, clusterDomain }: Settings): string[] {
  const namespace = namespaceOfHost(tracing?.service ?? "", clusterDomain);
  return namespace === undefined ? [] : [namespace];
}

/** mTLS, and who may call whom. */
export function meshSecurity({ settings, mesh, opts }: Surroundings): pulumi.Resource[] {
  const { security, services } = settings;
  const { mtls, authorization, networkPolicy, defaultDeny } = security;
  const { namespace } = mesh;
  const called = services.filter(({ offers }) => authorization && offers.length > 0);
  const allowed = called.map((service) => {
    const { name: callee, port, offers, healthCheck } = service;
    const callers = new Map(
      callersOf(services, service).map(({ name }) => [accountName(name, settings), mesh.accountOf(name)]),
    );
    return [callee, { callee, port, namespace, callers, services: offers, healthCheck }] as const;
  });
  const args = { namespace, mtls, allowed: new Map(allowed), defaultDeny };
  const identities = new MeshSecurity("security", args, opts);
  if (!networkPolicy) return [identities];
  const networked = services.map(
    ({ name, port, calls }) => [name, { application: name, port, calls }] as const,
  );
  const network = {
    namespace,
    services: new Map(networked),
    collectors: collectorsOf(settings),
    defaultDeny,
  };
  return [identities, new MeshNetworkPolicy("network", network, opts)];
}

/** The dashboard, where one is asked for. */
export function meshDashboard({ settings, mesh, opts }: Surroundings): MeshDashboard[] {
  if (!settings.observability.dashboard) return [];
  return [new MeshDashboard("dashboard", { namespace: mesh.namespace }, opts)];
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
 * The services, each after the rules of calls, and callers after the routes to what they call: all is there before a first call, and until
 * after the last one. Where services call each other, the routes to one of them come later; an application on Node.js waits for its
 * providers by itself.
 */
export function dubboServices(
  run: Versions,
  rules: pulumi.Resource[],
  surroundings: Surroundings,
): ReadonlyMap<string, DubboService> {
  const made = new Map<string, DubboService>();
  const routes = new Map<string, pulumi.Resource[]>();
  for (const service of calleesFirst(surroundings.settings.services)) {
    const { name, calls } = service;
    const before = [...rules, ...calls.flatMap((callee) => routes.get(callee) ?? [])];
    const deployed = dubboService(service, run.get(name) ?? [], surroundings, before);
    made.set(name, deployed);
    routes.set(name, routesTo(service, deployed, surroundings));
  }
  return made;
}
