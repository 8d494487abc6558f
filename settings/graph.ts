import { milliseconds, seconds } from "./duration.ts";
import { drainSeconds, type HealthCheck, type HealthCheckLoad, healthCheckLoad } from "./health-check.ts";
import { maxReplicas, type Scale } from "./scale.ts";
import type { ServiceSettings } from "./services.ts";
import { type Traffic, trafficOf, type TrafficSettings } from "./traffic.ts";

/** Service with the stack-wide settings applied. Its own settings take precedence. */
export interface Service extends Omit<ServiceSettings, "traffic" | "healthCheck" | "drain"> {
  /** Traffic policy of calls to the service. */
  readonly traffic: Traffic;
  /** Active health check of its pods. */
  readonly healthCheck: HealthCheck;
  /**
   * Time in which a terminating pod answers NOT_SERVING before it closes, seconds. 0 for a service
   * that offers nothing.
   */
  readonly drainSeconds: number;
  /** Time for calls in flight after the drain, seconds. */
  readonly finishSeconds: number;
}

/** Services of a stack and the stack-wide settings. */
export interface GivenServices {
  readonly services: readonly ServiceSettings[];
  readonly traffic: TrafficSettings;
  readonly healthCheck: HealthCheck;
  readonly drain?: string | undefined;
}

/** Deadline of an external caller, seconds. It equals Dubbo's timeout in the sample. */
const EXTERNAL_DEADLINE = 30;

/** Returns the time in which calls to the service and its own calls end, seconds. */
function finishOf(service: ServiceSettings, services: readonly ServiceSettings[]): number {
  const callers = callersOf(services, service);
  const deadlines = [...callers, ...(service.calls.length > 0 ? [service] : [])].map(({ timeout }) =>
    seconds(timeout),
  );
  return deadlines.length === 0 ? EXTERNAL_DEADLINE : Math.max(...deadlines);
}

/** Applies the stack-wide settings to each service. */
export function servicesOf({ services, traffic, healthCheck, drain }: GivenServices): Service[] {
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

/** Returns the callers of a service. */
export function callersOf<T extends Pick<ServiceSettings, "calls">>(
  services: readonly T[],
  { name }: Pick<ServiceSettings, "name">,
): T[] {
  return services.filter(({ calls }) => calls.includes(name));
}

/** Returns the callees of a service. */
export function calleesOf<T extends Pick<ServiceSettings, "name">>(
  services: readonly T[],
  { calls }: Pick<ServiceSettings, "calls">,
): T[] {
  return services.filter(({ name }) => calls.includes(name));
}

/** Outgoing calls of a service, as its runtime is configured. */
export interface Calls {
  /** Callees, at least one. */
  readonly callees: readonly {
    /** Dubbo application name. */
    readonly application: string;
    /** Triple port. */
    readonly port: number;
    /** gRPC services that the callee offers. */
    readonly services: readonly string[];
  }[];
  /** Deadline of each call, milliseconds. */
  readonly timeoutMs: number;
}

/** Returns the outgoing calls of a service; undefined if there are none. */
export function callsOf(service: Service, services: readonly Service[]): Calls | undefined {
  const callees = calleesOf(services, service);
  if (callees.length === 0) return undefined;
  return {
    callees: callees.map(({ name, port, offers }) => ({ application: name, port, services: offers })),
    timeoutMs: milliseconds(service.timeout),
  };
}

/** Edge of the call graph. */
export interface Edge {
  readonly caller: Service;
  readonly callee: Service;
}

/** Returns all edges of the call graph. */
export function edgesOf(services: readonly Service[]): Edge[] {
  return services.flatMap((caller) => calleesOf(services, caller).map((callee) => ({ caller, callee })));
}

/** Sorts services so that callees come before their callers. A cycle has no such order. */
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

/**
 * Returns the name of a version's Deployment. A service without offers gets no version suffix: no
 * route tells its versions apart.
 */
export function deploymentName(
  { name, offers }: Pick<ServiceSettings, "name" | "offers">,
  version: string,
): string {
  return offers.length === 0 ? name : `${name}-${version}`;
}

/** Returns the largest number of pods of a service. */
export function maxPods({ versions }: { readonly versions: readonly Scale[] }): number {
  return versions.reduce((sum, scale) => sum + maxReplicas(scale), 0);
}

/** Returns the highest health check load of a service, with the most pods of it and its callers. */
export function loadOn(service: Service, services: readonly Service[]): HealthCheckLoad {
  const callers = callersOf(services, service).reduce((sum, caller) => sum + maxPods(caller), 0);
  return healthCheckLoad(service.healthCheck, callers, maxPods(service));
}

/**
 * Returns the highest health check load of a stack: the sum of all checks, and the highest load of
 * one pod.
 */
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
