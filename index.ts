import * as docker from "@pulumi/docker";
import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { type Application, bundleApplication } from "./apps/bundle.ts";
import { DubboConsumer } from "./components/consumer.ts";
import { MeshDashboard } from "./components/dashboard.ts";
import { ActiveHealthCheck } from "./components/health-check.ts";
import { ApplicationImage } from "./components/image.ts";
import { IstioControlPlane } from "./components/istio.ts";
import { MeshNamespace } from "./components/namespace.ts";
import { MeshNetworkPolicy } from "./components/network-policy.ts";
import { DubboProvider, type ProviderVersion } from "./components/provider.ts";
import { MeshSecurity } from "./components/security.ts";
import { SidecarScope } from "./components/sidecar-scope.ts";
import { ProviderTraffic } from "./components/traffic.ts";
import { milliseconds, seconds } from "./lib/duration.ts";
import { UserError } from "./lib/errors.ts";
import { drainSeconds, type HealthCheckLoad, loadOf } from "./lib/health-check.ts";
import { installationOf, listOperation } from "./lib/istio.ts";
import { proxyAnnotations } from "./lib/resources.ts";
import { parseSettings, PROJECT, type Settings } from "./settings.ts";

/** What the stack puts out. */
interface Outputs {
  /** Namespace of the mesh. */
  namespace: pulumi.Output<string>;
  /** Where the provider is called in the cluster, host:port. */
  providerAddress: pulumi.Output<string>;
  /** Where the consumer's health is served in the cluster, host:port. */
  consumerAddress: pulumi.Output<string>;
  /** Name of the EnvoyFilter that holds the active health check. */
  envoyFilterName: pulumi.Output<string>;
  /** Checks a second that the health check causes at most. */
  healthCheckLoad: HealthCheckLoad;
  /** The images that run, those that were built by digest. */
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

function builtImage(
  application: Application,
  settings: Settings,
  provider: docker.Provider,
): ApplicationImage {
  const { baseImage, platform, registry } = settings;
  const { context, dockerfile, tag } = bundleApplication(application, { baseImage, platform });
  const reference = `${registry ?? ""}/${settings[application].name}:${tag}`;
  return new ApplicationImage(
    application,
    { reference, context, dockerfile, baseImage, platform },
    { providers: { docker: provider } },
  );
}

/** What runs, with its images. */
interface Images {
  /** The provider's versions. */
  readonly versions: readonly ProviderVersion[];
  /** The consumer's image. */
  readonly consumer: pulumi.Input<string>;
}

function images(settings: Settings): Images {
  const { dockerHost, provider, consumer } = settings;
  const engine = new docker.Provider("docker", { ...(dockerHost !== undefined && { host: dockerHost }) });
  const build = (application: Application): pulumi.Output<string> =>
    builtImage(application, settings, engine).digest;
  // One build for all versions without an image.
  let shared: pulumi.Output<string> | undefined;
  const versions = provider.versions.map((version) => ({
    ...version,
    image: version.image ?? (shared ??= build("provider")),
  }));
  return { versions, consumer: consumer.image ?? build("consumer") };
}

/** The images by application; the provider's by `provider-VERSION` where its versions run different ones. */
function imageOutputs({ versions, consumer }: Images): Outputs["images"] {
  const [first, ...others] = new Set(versions.map(({ image }) => image));
  if (first !== undefined && others.length === 0) return { provider: first, consumer };
  const byVersion = versions.map(({ name, image }) => [`provider-${name}`, image] as const);
  return { ...Object.fromEntries(byVersion), consumer };
}

function kubernetesProvider({ context, kubeconfig }: Settings): kubernetes.Provider {
  return new kubernetes.Provider("kubernetes", {
    context,
    // Another context is another cluster: what was made in the old one is then replaced, not looked for in the new one.
    clusterIdentifier: context,
    ...(kubeconfig !== undefined && { kubeconfig }),
  });
}

/** Istio, where the stack installs it: all else is created after it and removed before it. */
function controlPlane(
  { istio, revision }: Settings,
  opts: pulumi.ComponentResourceOptions,
): IstioControlPlane[] {
  const installation = installationOf(istio, revision);
  return installation === undefined ? [] : [new IstioControlPlane("istio", installation, opts)];
}

/** What every component of the mesh is placed in. */
interface Surroundings {
  readonly mesh: MeshNamespace;
  readonly clusterDomain: string;
}

function meshNamespace(settings: Settings, opts: pulumi.ComponentResourceOptions): MeshNamespace {
  const { namespace: name, injection, revision, accessLogs, security, provider, consumer } = settings;
  const { identities, podSecurity } = security;
  const { tracing } = settings.observability;
  const args = { name, injection, revision, accessLogs, tracing, podSecurity, serviceAccount: "dubbo-sa" };
  const own = identities === "shared" ? [] : [provider.name, consumer.name];
  return new MeshNamespace("mesh", { ...args, identities: own }, opts);
}

function dubboProvider(
  { provider, consumer, healthCheck, drain, proxy }: Settings,
  { mesh, clusterDomain }: Surroundings,
  versions: readonly ProviderVersion[],
  opts: pulumi.ComponentResourceOptions,
): DubboProvider {
  const { name: application, port, runtime, properties, resources } = provider;
  const args = {
    namespace: mesh.namespace,
    serviceAccount: mesh.accountOf(application),
    clusterDomain,
    application,
    runtime,
    port,
    drainSeconds: drain === undefined ? drainSeconds(healthCheck) : seconds(drain),
    finishSeconds: seconds(consumer.timeout),
    properties,
    resources,
    annotations: proxyAnnotations(proxy),
    versions,
  };
  return new DubboProvider("provider", args, opts);
}

function rules(
  { consumer, healthCheck, istio, provider, traffic }: Settings,
  { mesh: { namespace } }: Surroundings,
  host: pulumi.Output<string>,
  opts: pulumi.ComponentResourceOptions,
): [ActiveHealthCheck, ...pulumi.Resource[]] {
  const { name, port, versions } = provider;
  const subsets = versions.map(({ name: subset, weight }) => ({ name: subset, weight }));
  const check = {
    caller: consumer.name,
    host,
    port,
    subsets: subsets.map((subset) => subset.name),
    healthCheck,
    operation: listOperation(istio),
  };
  return [
    new ActiveHealthCheck("health-check", { name: "cluster", namespace, rules: check }, opts),
    new ProviderTraffic("provider-traffic", { name, namespace, rules: { host, subsets, ...traffic } }, opts),
    new SidecarScope("provider-scope", { application: name, namespace, calls: [] }, opts),
    new SidecarScope("consumer-scope", { application: consumer.name, namespace, calls: [host] }, opts),
  ];
}

function security(
  { security: { mtls, authorization, networkPolicy, defaultDeny }, healthCheck, ...settings }: Settings,
  { mesh }: Surroundings,
  opts: pulumi.ComponentResourceOptions,
): pulumi.Resource[] {
  const { namespace } = mesh;
  const { provider, consumer } = settings;
  const { port, services } = provider;
  const edge = { callee: provider.name, port };
  const calls = { ...edge, namespace, caller: mesh.accountOf(consumer.name), services, healthCheck };
  const allowed = authorization ? calls : undefined;
  const identities = new MeshSecurity("security", { namespace, mtls, allowed, defaultDeny }, opts);
  if (!networkPolicy) return [identities];
  const args = { ...edge, namespace, caller: consumer.name, defaultDeny };
  return [identities, new MeshNetworkPolicy("network", args, opts)];
}

function dubboConsumer(
  { consumer, provider, proxy }: Settings,
  { mesh, clusterDomain }: Surroundings,
  image: pulumi.Input<string>,
  opts: pulumi.ComponentResourceOptions,
): DubboConsumer {
  const args = {
    namespace: mesh.namespace,
    serviceAccount: mesh.accountOf(consumer.name),
    clusterDomain,
    application: consumer.name,
    image,
    runtime: consumer.runtime,
    port: consumer.port,
    replicas: consumer.replicas,
    autoscale: consumer.autoscale,
    intervalMs: milliseconds(consumer.interval),
    timeoutMs: milliseconds(consumer.timeout),
    providedBy: provider.name,
    providerPort: provider.port,
    properties: consumer.properties,
    resources: consumer.resources,
    annotations: proxyAnnotations(proxy),
  };
  return new DubboConsumer("consumer", args, opts);
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
  const run = images(settings);
  const cluster = { providers: { kubernetes: kubernetesProvider(settings) } };
  const opts = { ...cluster, dependsOn: controlPlane(settings, cluster) };
  const mesh = meshNamespace(settings, opts);
  const surroundings = { mesh, clusterDomain: settings.clusterDomain };
  const provider = dubboProvider(settings, surroundings, run.versions, opts);
  const [check, ...others] = rules(settings, surroundings, provider.host, opts);
  const policies = security(settings, surroundings, opts);
  if (settings.observability.dashboard) new MeshDashboard("dashboard", { namespace: mesh.namespace }, opts);
  // The rules are there before the first call, and until after the last.
  const consumer = dubboConsumer(settings, surroundings, run.consumer, {
    ...opts,
    dependsOn: [...opts.dependsOn, check, ...others, ...policies],
  });
  return {
    namespace: mesh.namespace,
    providerAddress: provider.address,
    consumerAddress: consumer.address,
    envoyFilterName: check.envoyFilterName,
    healthCheckLoad: loadOf(settings),
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
