import type * as pulumi from "@pulumi/pulumi";
import { ActiveHealthCheck } from "../components/health-check.ts";
import { MeshNetworkPolicy } from "../components/network-policy.ts";
import { MeshSecurity } from "../components/security.ts";
import { SidecarScope } from "../components/sidecar-scope.ts";
import { ProviderTraffic, type ProviderTrafficArgs } from "../components/traffic.ts";
import { calleesOf, callersOf, type Service } from "../settings/graph.ts";
import { listOperation } from "../settings/istio.ts";
import { envoyFilterName } from "../settings/names.ts";
import { namespaceOfHost } from "../settings/observability.ts";
import type { Settings } from "../settings/settings.ts";
import { accountName, hostOf, type Surroundings } from "./surroundings.ts";

/** Rules of the calls in the mesh; those of one service by its name. */
export interface CallRules {
  readonly checks: ReadonlyMap<string, ActiveHealthCheck>;
  readonly traffic: ReadonlyMap<string, ProviderTraffic>;
  readonly scopes: ReadonlyMap<string, SidecarScope>;
  readonly security: MeshSecurity;
  readonly network: MeshNetworkPolicy | undefined;
}

/** Arguments of a service's subsets and of the routes to them. */
export function trafficArgs(service: Service, surroundings: Surroundings): ProviderTrafficArgs {
  const { name, versions, methods, routes, traffic } = service;
  const subsets = versions.map(({ name: subset, weight }) => ({ name: subset, weight }));
  const rules = { host: hostOf(service, surroundings), subsets, methods, routes, ...traffic };
  return { name, namespace: surroundings.mesh.namespace, rules };
}

function providerTraffic(service: Service, surroundings: Surroundings): ProviderTraffic {
  return new ProviderTraffic(
    `${service.name}-traffic`,
    trafficArgs(service, surroundings),
    surroundings.opts,
  );
}

/** Limits the configuration of a service's proxies to what it calls. */
function sidecarScope(service: Service, surroundings: Surroundings): SidecarScope {
  const { settings, mesh, opts } = surroundings;
  const calls = calleesOf(settings.services, service).map((callee) => hostOf(callee, surroundings));
  const { service: collector } = settings.observability.tracing ?? {};
  const proxyCalls = collector === undefined ? [] : [collector];
  const args = { application: service.name, namespace: mesh.namespace, calls, proxyCalls };
  return new SidecarScope(`${service.name}-scope`, args, opts);
}

/** Active checks of the pods that a caller calls. */
function healthCheck(caller: Service, surroundings: Surroundings): ActiveHealthCheck {
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

function meshSecurity({ settings, mesh, opts }: Surroundings): MeshSecurity {
  const { security, services } = settings;
  const { mtls, authorization, defaultDeny } = security;
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
  return new MeshSecurity("security", args, opts);
}

function meshNetworkPolicy({ settings, mesh, opts }: Surroundings): MeshNetworkPolicy | undefined {
  const { security, services } = settings;
  if (!security.networkPolicy) return undefined;
  const networked = services.map(
    ({ name, port, calls }) => [name, { application: name, port, calls }] as const,
  );
  const args = {
    namespace: mesh.namespace,
    services: new Map(networked),
    collectors: collectorsOf(settings),
    defaultDeny: security.defaultDeny,
  };
  return new MeshNetworkPolicy("network", args, opts);
}

function byName<T>(services: readonly Service[], declare: (service: Service) => T): ReadonlyMap<string, T> {
  return new Map(services.map((service) => [service.name, declare(service)]));
}

/** Declares the rules of all calls, except the routes to the pods. */
export function callRules(surroundings: Surroundings): CallRules {
  const { services } = surroundings.settings;
  const callers = services.filter(({ calls }) => calls.length > 0);
  const providers = services.filter(({ offers }) => offers.length > 0);
  return {
    checks: byName(callers, (service) => healthCheck(service, surroundings)),
    traffic: byName(providers, (service) => providerTraffic(service, surroundings)),
    scopes: byName(services, (service) => sidecarScope(service, surroundings)),
    security: meshSecurity(surroundings),
    network: meshNetworkPolicy(surroundings),
  };
}

/**
 * Rules that a service's pods need: those of the service and those of its own calls. The pods start after them and
 * end before them. Rules of other calls would be dependencies by the square of the number of services.
 */
export function rulesOf({ name, calls }: Service, rules: CallRules, settings: Settings): pulumi.Resource[] {
  const { checks, traffic, scopes, security, network } = rules;
  const account = accountName(name, settings);
  const own = [scopes.get(name), checks.get(name), ...security.policiesOf(name)];
  const called = calls.flatMap((callee) => security.policyFor(callee, account));
  const either = [name, ...calls].flatMap((service) => [
    traffic.get(service),
    ...(network?.policiesOf(service) ?? []),
  ]);
  const common = [...security.common, ...(network?.common ?? [])];
  return [...common, ...own, ...called, ...either].filter((rule) => rule !== undefined);
}
