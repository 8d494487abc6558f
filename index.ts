import * as docker from "@pulumi/docker";
import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { bundleApplication, type ImageBuild } from "./apps/bundle.ts";
import { ActiveHealthCheck } from "./components/health-check.ts";
import { ApplicationImage } from "./components/image.ts";
import { MeshNamespace } from "./components/namespace.ts";
import { MeshNetworkPolicy } from "./components/network-policy.ts";
import { MeshSecurity } from "./components/security.ts";
import { DubboService, type ServiceCalls, type ServiceVersion } from "./components/service.ts";
import { SidecarScope } from "./components/sidecar-scope.ts";
import { ProviderTraffic } from "./components/traffic.ts";
import { contextImage } from "./lib/build-context.ts";
import { milliseconds } from "./lib/duration.ts";
import { UserError } from "./lib/errors.ts";
import { calleesFirst, calleesOf, callersOf, loadOf, type Service } from "./lib/graph.ts";
import type { HealthCheckLoad } from "./lib/health-check.ts";
import { envoyFilterName } from "./lib/names.ts";
import { proxyAnnotations } from "./lib/resources.ts";
import { parseSettings, PROJECT, type Settings } from "./settings.ts";

/** What the stack puts out. */
interface Outputs {
  /** Namespace of the mesh. */
  namespace: pulumi.Output<string>;
  /** Where each service is called in the cluster, host:port, by its name. */
  serviceAddresses: Record<string, pulumi.Output<string>>;
  /** Name of the EnvoyFilter that holds the active health checks of a caller, by the caller's name. */
  envoyFilterNames: Record<string, pulumi.Output<string>>;
  /** Checks a second that the health check causes at most. */
  healthCheckLoad: HealthCheckLoad;
  /** The images that run, those that were built by digest, by service; by `service-VERSION` where its versions run different ones. */
  images: Record<string, pulumi.Input<string>>;
  /** The kubectl context that the stack deploys to. */
  kubeContext: string;
}

/** The running stack's settings. Pulumi ignores keys that it does not know; the schema does not. */
function loadSettings(): Settings {
  const prefix = `${PROJECT}:`;
  const own = Object.entries(pulumi.runtime.allConfig()).filter(([key]) => key.startsWith(prefix));
  return parseSettings(Object.fromEntries(own.map(([key, value]) => [key.slice(prefix.length), value])));
}

/** How the image of a service is built: from apps/, or from a folder of the user's own. */
function buildOf({ app, build, name }: Service, { baseImage, platform }: Settings): ImageBuild {
  if (build !== undefined) return contextImage(build, { baseImage, platform });
  if (app !== undefined) return bundleApplication(app, { baseImage, platform });
  throw new UserError(`service ${name} has neither app nor build nor image`, "Set one of them.");
}

function builtImage(service: Service, settings: Settings, engine: docker.Provider): pulumi.Output<string> {
  const { baseImage, platform, registry } = settings;
  const { context, dockerfile, tag } = buildOf(service, settings);
  const reference = `${registry ?? ""}/${service.name}:${tag}`;
  // What apps/ runs while it is built needs no network, and BuildKit asks for the engine's bridge, which may not be there.
  const network = service.build === undefined ? "none" : "default";
  const args = { reference, context, dockerfile, baseImage, platform, network };
  return new ApplicationImage(service.name, args, { providers: { docker: engine } }).digest;
}

/** The versions that run, by service. */
type Versions = ReadonlyMap<string, readonly ServiceVersion[]>;

function images(settings: Settings): Versions {
  const { dockerHost, services } = settings;
  const engine = new docker.Provider("docker", { ...(dockerHost !== undefined && { host: dockerHost }) });
  const run = services.map((service) => {
    // One build for all versions without an image.
    let shared: pulumi.Output<string> | undefined;
    const versions = service.versions.map((version) => ({
      ...version,
      image: version.image ?? (shared ??= builtImage(service, settings, engine)),
    }));
    return [service.name, versions] as const;
  });
  return new Map(run);
}

function imageOutputs(run: Versions): Outputs["images"] {
  const named = [...run].flatMap(([service, versions]) => {
    const [first, ...others] = new Set(versions.map(({ image }) => image));
    if (first !== undefined && others.length === 0) return [[service, first] as const];
    return versions.map(({ name, image }) => [`${service}-${name}`, image] as const);
  });
  return Object.fromEntries(named);
}

function kubernetesProvider({ context, kubeconfig }: Settings): kubernetes.Provider {
  return new kubernetes.Provider("kubernetes", {
    context,
    // Another context is another cluster: what was made in the old one is then replaced, not looked for in the new one.
    clusterIdentifier: context,
    ...(kubeconfig !== undefined && { kubeconfig }),
  });
}

function meshNamespace(settings: Settings, opts: pulumi.ComponentResourceOptions): MeshNamespace {
  const { namespace: name, injection, revision, accessLogs, security, services } = settings;
  const { identities, podSecurity } = security;
  const args = { name, injection, revision, accessLogs, podSecurity, serviceAccount: "dubbo-sa" };
  const own = identities === "shared" ? [] : services.map((service) => service.name);
  return new MeshNamespace("mesh", { ...args, identities: own }, opts);
}

/** What every component of a service is placed in. */
interface Surroundings {
  readonly settings: Settings;
  readonly mesh: MeshNamespace;
  readonly opts: pulumi.ComponentResourceOptions;
}

function hostOf({ name }: Service, { settings, mesh }: Surroundings): pulumi.Output<string> {
  return pulumi.interpolate`${name}.${mesh.namespace}.svc.${settings.clusterDomain}`;
}

/** The rules of calls to a service: nobody has to be told of one that offers nothing. */
function trafficRules(service: Service, surroundings: Surroundings): pulumi.Resource[] {
  const { name, offers, versions, methods, routes, traffic } = service;
  if (offers.length === 0) return [];
  const { mesh, opts } = surroundings;
  const subsets = versions.map(({ name: subset, weight }) => ({ name: subset, weight }));
  const rules = { host: hostOf(service, surroundings), subsets, methods, routes, ...traffic };
  return [new ProviderTraffic(`${name}-traffic`, { name, namespace: mesh.namespace, rules }, opts)];
}

function sidecarScope(service: Service, surroundings: Surroundings): SidecarScope {
  const { settings, mesh, opts } = surroundings;
  const calls = calleesOf(settings.services, service).map((callee) => hostOf(callee, surroundings));
  const args = { application: service.name, namespace: mesh.namespace, calls };
  return new SidecarScope(`${service.name}-scope`, args, opts);
}

function healthChecks(caller: Service, surroundings: Surroundings): ActiveHealthCheck {
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
  };
  return new ActiveHealthCheck(`${caller.name}-health-check`, args, opts);
}

function meshSecurity({ settings, mesh, opts }: Surroundings): pulumi.Resource[] {
  const { security, services } = settings;
  const { mtls, authorization, networkPolicy, defaultDeny } = security;
  const { namespace } = mesh;
  const called = services.filter(({ offers }) => authorization && offers.length > 0);
  const allowed = called.map((service) => {
    const { name: callee, port, offers, healthCheck } = service;
    const callers = pulumi.all(callersOf(services, service).map(({ name }) => mesh.accountOf(name)));
    return [callee, { callee, port, namespace, callers, services: offers, healthCheck }] as const;
  });
  const args = { namespace, mtls, allowed: new Map(allowed), defaultDeny };
  const identities = new MeshSecurity("security", args, opts);
  if (!networkPolicy) return [identities];
  const networked = services.map(
    ({ name, port, calls }) => [name, { application: name, port, calls }] as const,
  );
  const network = { namespace, services: new Map(networked), defaultDeny };
  return [identities, new MeshNetworkPolicy("network", network, opts)];
}

function callsOf(service: Service, { services }: Settings): ServiceCalls | undefined {
  const { interval, timeout } = service;
  const callees = calleesOf(services, service);
  if (callees.length === 0) return undefined;
  return {
    callees: callees.map(({ name, port, offers }) => ({ application: name, port, services: offers })),
    intervalMs: interval === undefined ? undefined : milliseconds(interval),
    timeoutMs: milliseconds(timeout),
  };
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
    calls: callsOf(service, settings),
    annotations: proxyAnnotations(settings.proxy),
    versions,
  };
  return new DubboService(name, args, { ...opts, dependsOn });
}

/**
 * The services. The rules are there before a caller's first call, and until after its last. An application on Node.js waits for its providers
 * by itself; one on Java would fail, so its pods come after theirs.
 */
function dubboServices(
  run: Versions,
  rules: readonly pulumi.Resource[],
  surroundings: Surroundings,
): ReadonlyMap<string, DubboService> {
  const { services } = surroundings.settings;
  const made = new Map<string, DubboService>();
  for (const service of calleesFirst(services)) {
    const providers = service.calls.flatMap((callee) => made.get(callee) ?? []);
    const before =
      service.calls.length === 0 ? [] : [...rules, ...(service.runtime === "java" ? providers : [])];
    made.set(service.name, dubboService(service, run.get(service.name) ?? [], surroundings, before));
  }
  return made;
}

/** The error as the engine is to print it: without the SDK's frames, on which Node 20 spends minutes (nodejs/node#64011). */
function runError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const expected = error instanceof UserError || pulumi.ResourceError.isInstance(error);
  const fix = error instanceof UserError ? `\n${error.fix}` : "";
  const thrown = expected ? new pulumi.RunError(`${error.message}${fix}`) : error;
  thrown.stack = expected ? "" : (error.stack ?? "").replaceAll(/^.*node_modules.*\n?/gm, "");
  return thrown;
}

function compose(): Outputs {
  const settings = loadSettings();
  const { services } = settings;
  const run = images(settings);
  const opts = { providers: { kubernetes: kubernetesProvider(settings) } };
  const mesh = meshNamespace(settings, opts);
  const surroundings = { settings, mesh, opts };
  const callers = services.filter(({ calls }) => calls.length > 0);
  const checks = callers.map((caller) => [caller.name, healthChecks(caller, surroundings)] as const);
  const rules = [
    ...checks.map(([, check]) => check),
    ...services.flatMap((service) => trafficRules(service, surroundings)),
    ...services.map((service) => sidecarScope(service, surroundings)),
    ...meshSecurity(surroundings),
  ];
  const deployed = dubboServices(run, rules, surroundings);
  return {
    namespace: mesh.namespace,
    serviceAddresses: Object.fromEntries([...deployed].map(([name, { address }]) => [name, address])),
    envoyFilterNames: Object.fromEntries(checks.map(([name, check]) => [name, check.envoyFilterName])),
    healthCheckLoad: loadOf(services),
    images: imageOutputs(run),
    kubeContext: settings.context,
  };
}

/**
 * Composes the stack. Pulumi calls it; `make render` and the kubectl engine call it under mocks.
 * @throws pulumi.RunError for what the user can mend, which the engine prints as one error
 */
export default function program(): Outputs {
  try {
    return compose();
  } catch (error) {
    throw runError(error);
  }
}
