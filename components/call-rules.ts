import type * as pulumi from "@pulumi/pulumi";
import { calleesOf, callersOf, type Service } from "../settings/graph.ts";
import { listOperation } from "../settings/istio.ts";
import { accountName, hostOf, type MeshModel } from "../settings/model.ts";
import { envoyFilterName } from "../settings/names.ts";
import { namespaceOfHost } from "../settings/observability.ts";
import { ActiveHealthCheck, type CheckedProvider } from "./health-check.ts";
import type { MeshNamespace } from "./namespace.ts";
import { MeshNetworkPolicy } from "./network-policy.ts";
import { MeshSecurity } from "./security.ts";
import { SidecarScope } from "./sidecar-scope.ts";
import { ProviderSubset, ProviderTraffic, type ProviderTrafficArgs, type TrafficRules } from "./traffic.ts";

/** Model, namespace and naming that the parts of a mesh share. */
export interface MeshParts {
  readonly model: MeshModel;
  readonly namespace: MeshNamespace;
  /** Resource name of a part of the mesh. */
  readonly nameOf: (part: string) => string;
  /** Options of a part of the mesh. */
  readonly opts: { readonly parent: pulumi.Resource; readonly dependsOn: pulumi.Resource[] };
}

/** Rules of the calls in the mesh. The maps have a service's name as key. */
export interface CallRules {
  readonly checks: ReadonlyMap<string, ActiveHealthCheck>;
  readonly traffic: ReadonlyMap<string, readonly pulumi.Resource[]>;
  readonly scopes: ReadonlyMap<string, SidecarScope>;
  readonly security: MeshSecurity;
  readonly network: MeshNetworkPolicy | undefined;
}

/** Returns the traffic rules of a service. */
export function trafficRules(service: Service, model: MeshModel): TrafficRules {
  const { versions, methods, routes, traffic } = service;
  const subsets = versions.map(({ name, weight }) => ({ name, weight }));
  return { host: hostOf(service, model), subsets, methods, routes, ...traffic };
}

/** Returns the subsets of a service and the routes to them. */
export function trafficArgs(service: Service, { model, namespace }: MeshParts): ProviderTrafficArgs {
  return { name: service.name, namespace: namespace.namespace, rules: trafficRules(service, model) };
}

/** Declares the subsets of a service and the policy of calls to it. */
function providerTraffic(service: Service, parts: MeshParts): pulumi.Resource[] {
  const { opts } = parts;
  const name = parts.nameOf(`${service.name}-traffic`);
  const args = trafficArgs(service, parts);
  const { namespace, rules } = args;
  const common = { provider: service.name, host: rules.host, namespace };
  const subsets = rules.subsets.map(
    ({ name: version }) => new ProviderSubset(`${name}.${version}`, { ...common, version }, opts),
  );
  // In older stacks, this rule lists the subsets. Its update waits until the new objects exist.
  const dependsOn = [...opts.dependsOn, ...subsets];
  return [...subsets, new ProviderTraffic(name, args, { ...opts, dependsOn })];
}

/** Returns the hosts that a service's proxies know besides those of Istio. */
export function knownHosts(
  service: Service,
  model: MeshModel,
): { readonly calls: string[]; readonly proxyCalls: string[] } {
  const { service: collector } = model.observability.tracing ?? {};
  return {
    calls: calleesOf(model.services, service).map((callee) => hostOf(callee, model)),
    proxyCalls: collector === undefined ? [] : [collector],
  };
}

/** Limits the configuration of a service's proxies to its callees. */
function sidecarScope(service: Service, { model, namespace, nameOf, opts }: MeshParts): SidecarScope {
  const { name: application } = service;
  const args = { application, namespace: namespace.namespace, ...knownHosts(service, model) };
  return new SidecarScope(nameOf(`${application}-scope`), args, opts);
}

/** Returns the service as its callers check it. */
export function checkedProvider(callee: Service, model: MeshModel): CheckedProvider {
  return {
    host: hostOf(callee, model),
    port: callee.port,
    subsets: callee.versions.map(({ name }) => name),
    service: callee.offers[0] ?? "",
    healthCheck: callee.healthCheck,
    outlierDetection: true,
  };
}

/** Declares the active health check of a caller's callees. */
function healthCheck(caller: Service, parts: MeshParts): ActiveHealthCheck {
  const { model, namespace } = parts;
  const providers = calleesOf(model.services, caller).map((callee) => checkedProvider(callee, model));
  const args = {
    name: envoyFilterName(caller.name),
    namespace: namespace.namespace,
    caller: caller.name,
    providers,
    operation: listOperation(model.istio),
  };
  const part = `${caller.name}-health-check`;
  return new ActiveHealthCheck(parts.nameOf(part), args, parts.opts);
}

/** Returns the ServiceAccounts of a service's callers. Several callers may share one. */
export function callerAccounts(service: Service, model: MeshModel): string[] {
  const accounts = callersOf(model.services, service).map(({ name }) => accountName(name, model));
  return [...new Set(accounts)];
}

function meshSecurity({ model, namespace: home, nameOf, opts }: MeshParts): MeshSecurity {
  const { security, services } = model;
  const { mtls, authorization, defaultDeny } = security;
  const { namespace } = home;
  const called = services.filter(({ offers }) => authorization && offers.length > 0);
  const allowed = called.map((service) => {
    const { name: callee, port, offers, healthCheck } = service;
    const callers = callerAccounts(service, model);
    return [callee, { callee, port, callers, services: offers, healthCheck }] as const;
  });
  const args = { namespace, mtls, allowed: new Map(allowed), defaultDeny };
  return new MeshSecurity(nameOf("security"), args, opts);
}

/** Returns the namespaces of this cluster that traces are sent to. */
function collectorsOf({ observability: { tracing }, clusterDomain }: MeshModel): string[] {
  const namespace = namespaceOfHost(tracing?.service ?? "", clusterDomain);
  return namespace === undefined ? [] : [namespace];
}

function networkPolicy({ model, namespace, nameOf, opts }: MeshParts): MeshNetworkPolicy | undefined {
  const { security, services } = model;
  if (!security.networkPolicy) return undefined;
  const networked = services.map(
    ({ name, port, calls }) => [name, { application: name, port, calls }] as const,
  );
  const args = {
    namespace: namespace.namespace,
    services: new Map(networked),
    collectors: collectorsOf(model),
    defaultDeny: security.defaultDeny,
  };
  return new MeshNetworkPolicy(nameOf("network"), args, opts);
}

function byName<T>(services: readonly Service[], declare: (service: Service) => T): ReadonlyMap<string, T> {
  return new Map(services.map((service) => [service.name, declare(service)]));
}

/** Declares the rules of all calls, except the routes to the pods. */
export function callRules(parts: MeshParts): CallRules {
  const { services } = parts.model;
  const callers = services.filter(({ calls }) => calls.length > 0);
  const providers = services.filter(({ offers }) => offers.length > 0);
  return {
    checks: byName(callers, (service) => healthCheck(service, parts)),
    traffic: byName(providers, (service) => providerTraffic(service, parts)),
    scopes: byName(services, (service) => sidecarScope(service, parts)),
    security: meshSecurity(parts),
    network: networkPolicy(parts),
  };
}

/**
 * Returns the rules that a service's pods need: those of the service and of its calls. The pods
 * start after these rules and end before them. Rules of other calls would make dependencies grow
 * with the square of the number of services.
 */
export function rulesOf({ name, calls }: Service, rules: CallRules, model: MeshModel): pulumi.Resource[] {
  const { checks, traffic, scopes, security, network } = rules;
  const account = accountName(name, model);
  const own = [scopes.get(name), checks.get(name), ...security.policiesOf(name)];
  const called = calls.flatMap((callee) => security.policyFor(callee, account));
  const either = [name, ...calls].flatMap((service) => [
    ...(traffic.get(service) ?? []),
    ...(network?.policiesOf(service) ?? []),
  ]);
  const common = [...security.common, ...(network?.common ?? [])];
  return [...common, ...own, ...called, ...either].filter((rule) => rule !== undefined);
}
