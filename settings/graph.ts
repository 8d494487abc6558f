import { milliseconds, seconds } from "./duration.ts";
import { drainSeconds, type HealthCheck, type HealthCheckLoad, healthCheckLoad } from "./health-check.ts";
import { most, type Scale } from "./scale.ts";
import type { ServiceSettings } from "./services.ts";
import { type Traffic, trafficOf, type TrafficSettings } from "./traffic.ts";

/** A service with what the stack says of all services under what it says of this one. */
export interface Service extends Omit<ServiceSettings, "traffic" | "healthCheck" | "drain"> {
  /** How calls reach it. */
  readonly traffic: Traffic;
  /** The active check of its pods. */
  readonly healthCheck: HealthCheck;
  /** How long an ending pod answers NOT_SERVING before it closes, seconds; none where nobody calls. */
  readonly drainSeconds: number;
  /** How long calls in flight may take after that, seconds. */
  readonly finishSeconds: number;
}

/** What a stack says of its services, and of all of them. */
export interface Mesh {
  readonly services: readonly ServiceSettings[];
  readonly traffic: TrafficSettings;
  readonly healthCheck: HealthCheck;
  readonly drain?: string | undefined;
}

/** Deadline of a call by somebody who is no service of the stack, seconds: Dubbo's own in the sample. */
const STRANGERS_DEADLINE = 30;

/** A service ends when its own calls have, and those of its callers. */
function finishOf(service: ServiceSettings, services: readonly ServiceSettings[]): number {
  const callers = services.filter(({ calls }) => calls.includes(service.name));
  const deadlines = [...callers, ...(service.calls.length > 0 ? [service] : [])].map(({ timeout }) =>
    seconds(timeout),
  );
  return deadlines.length === 0 ? STRANGERS_DEADLINE : Math.max(...deadlines);
}

/** The services of a stack, with all that holds for each. */
export function servicesOf({ services, traffic, healthCheck, drain }: Mesh): Service[] {
  return services.map((given) => {
    const check = given.healthCheck ?? healthCheck;
    const wanted = given.drain ?? drain;
    const drained = wanted === undefined ? drainSeconds(check) : seconds(wanted);
    return {
      ...given,
      traffic: trafficOf(traffic, given.traffic),
      healthCheck: check,
      drainSeconds: given.offers.length === 0 ? 0 : drained,
      finishSeconds: finishOf(given, services),
    };
  });
}

/** The services that call this one. */
export function callersOf<T extends Pick<ServiceSettings, "calls">>(
  services: readonly T[],
  { name }: Pick<ServiceSettings, "name">,
): T[] {
  return services.filter(({ calls }) => calls.includes(name));
}

/** The services that this one calls. */
export function calleesOf<T extends Pick<ServiceSettings, "name">>(
  services: readonly T[],
  { calls }: Pick<ServiceSettings, "calls">,
): T[] {
  return services.filter(({ name }) => calls.includes(name));
}

/** What a service calls, as its runtime is told of it. */
export interface Calls {
  /** Whom it calls, at least one. */
  readonly callees: readonly {
    /** Dubbo application name. */
    readonly application: string;
    /** Triple port. */
    readonly port: number;
    /** The gRPC services that are called. */
    readonly services: readonly string[];
  }[];
  /** Deadline of a call, milliseconds. */
  readonly timeoutMs: number;
}

/** What a service calls; undefined for nothing. */
export function callsOf(service: Service, services: readonly Service[]): Calls | undefined {
  const callees = calleesOf(services, service);
  if (callees.length === 0) return undefined;
  return {
    callees: callees.map(({ name, port, offers }) => ({ application: name, port, services: offers })),
    timeoutMs: milliseconds(service.timeout),
  };
}

/** An edge of the call graph. */
export interface Edge {
  readonly caller: Service;
  readonly callee: Service;
}

/** Who calls whom. */
export function edgesOf(services: readonly Service[]): Edge[] {
  return services.flatMap((caller) => calleesOf(services, caller).map((callee) => ({ caller, callee })));
}

/** The services, each after those that it calls, except where they call each other. */
export function calleesFirst(services: readonly Service[]): Service[] {
  const ordered = new Set<Service>();
  const begun = new Set<Service>();
  const visit = (service: Service): void => {
    if (begun.has(service)) return;
    begun.add(service);
    calleesOf(services, service).forEach(visit);
    ordered.add(service);
  };
  services.forEach(visit);
  return [...ordered];
}

/** Name of the Deployment of a service's version: that of a service which nobody calls has no versions to tell apart. */
export function deploymentName(
  { name, offers }: Pick<ServiceSettings, "name" | "offers">,
  version: string,
): string {
  return offers.length === 0 ? name : `${name}-${version}`;
}

/** Pods of a service that may run. */
export function mostPods({ versions }: { readonly versions: readonly Scale[] }): number {
  return versions.reduce((sum, scale) => sum + most(scale), 0);
}

/** What the checks of a service cost at most, with as many pods of it and its callers as may run. */
export function loadOn(service: Service, services: readonly Service[]): HealthCheckLoad {
  const callers = callersOf(services, service).reduce((sum, caller) => sum + mostPods(caller), 0);
  return healthCheckLoad(service.healthCheck, callers, mostPods(service));
}

/** What the checks of a stack cost at most: all together, and the most that a pod answers. */
export function loadOf(services: readonly Service[]): HealthCheckLoad {
  const loads = services
    .filter(({ offers }) => offers.length > 0)
    .map((service) => loadOn(service, services));
  const total = loads.reduce((sum, { checksPerSecond }) => sum + checksPerSecond, 0);
  return {
    checksPerSecond: Math.round(total * 100) / 100,
    perProviderPod: Math.max(0, ...loads.map(({ perProviderPod }) => perProviderPod)),
  };
}
