import * as pulumi from "@pulumi/pulumi";
import { milliseconds } from "../settings/duration.ts";
import { calleesFirst, callsOf, type Service } from "../settings/graph.ts";
import { installationOf } from "../settings/istio.ts";
import { type MeshModel, SHARED_ACCOUNT } from "../settings/model.ts";
import { proxyAnnotations } from "../settings/resources.ts";
import { type CallRules, callRules, type MeshParts, rulesOf, trafficArgs } from "./call-rules.ts";
import { MeshDashboard } from "./dashboard.ts";
import { IstioControlPlane } from "./istio.ts";
import { MeshNamespace } from "./namespace.ts";
import { keepFormerChildren } from "./former-names.ts";
import { overwriteFields } from "./overwrite-fields.ts";
import { DubboService, type DubboServiceArgs, type ServiceVersion } from "./service.ts";
import { ProviderRoutes } from "./traffic.ts";

/** Arguments of {@link DubboMesh}. `meshOf` makes them from a few lines, with all defaults. */
export interface DubboMeshArgs extends MeshModel {
  /** Images by service, for versions that name none. Default: none. */
  images?: Readonly<Record<string, pulumi.Input<string>>>;
}

/**
 * Dubbo application mesh: its namespace, its services, and the rules of the calls between them. It
 * needs a Kubernetes provider. It also needs Istio, unless it installs Istio. All Kubernetes
 * objects have the names of the model. A program may deploy several meshes to several namespaces.
 */
export class DubboMesh extends pulumi.ComponentResource {
  /** Namespace of the mesh. */
  readonly namespace: pulumi.Output<string>;
  /** Address of each service in the cluster, `host:port`, by service. */
  readonly serviceAddresses: Readonly<Record<string, pulumi.Output<string>>>;
  /** Name of the EnvoyFilter with a caller's active health checks, by caller. */
  readonly envoyFilterNames: Readonly<Record<string, pulumi.Output<string>>>;

  /** @throws pulumi.ResourceError if a version has no image */
  constructor(
    name: string,
    { images = {}, ...model }: DubboMeshArgs,
    given?: pulumi.ComponentResourceOptions,
  ) {
    super(
      "dubbo-mesh:mesh:DubboMesh",
      name,
      {},
      pulumi.mergeOptions(given, { transformations: [overwriteFields, keepFormerChildren] }),
    );
    const nameOf = (part: string): string => `${name}-${part}`;
    const istio: pulumi.Resource[] = [];
    const installation = installationOf(model.istio, model.revision, model.clusterDomain);
    // All other resources are created after Istio, and deleted before it.
    if (installation !== undefined)
      istio.push(new IstioControlPlane(nameOf("istio"), installation, { parent: this }));
    const opts = { parent: this, dependsOn: istio };
    const parts = {
      model,
      namespace: meshNamespace(model, nameOf("namespace"), opts),
      nameOf,
      opts,
    };
    const rules = callRules(parts);
    if (model.observability.dashboard)
      new MeshDashboard(nameOf("dashboard"), { namespace: parts.namespace.namespace }, opts);
    const versions = (service: Service): ServiceVersion[] => this.#versions(service, images);
    const services = dubboServices(parts, rules, versions);
    this.namespace = parts.namespace.namespace;
    this.serviceAddresses = Object.fromEntries(
      [...services].map(([service, { address }]) => [service, address]),
    );
    this.envoyFilterNames = Object.fromEntries(
      [...rules.checks].map(([caller, check]) => [caller, check.metadata.name]),
    );
    const { namespace, serviceAddresses, envoyFilterNames } = this;
    this.registerOutputs({ namespace, serviceAddresses, envoyFilterNames });
  }

  #versions({ name, versions }: Service, images: NonNullable<DubboMeshArgs["images"]>): ServiceVersion[] {
    return versions.map((version) => {
      const image = version.image ?? images[name];
      if (image === undefined)
        throw new pulumi.ResourceError(`version ${version.name} of ${name} has no image`, this, true);
      return { ...version, image };
    });
  }
}

function meshNamespace(
  model: MeshModel,
  resource: string,
  opts: pulumi.ComponentResourceOptions,
): MeshNamespace {
  const { namespace: name, injection, revision, accessLogs, security, services } = model;
  const { identities, podSecurity } = security;
  const { tracing } = model.observability;
  const own = identities === "shared" ? [] : services.map((service) => service.name);
  const accounts = { serviceAccount: SHARED_ACCOUNT, identities: own };
  const args = { name, injection, revision, accessLogs, tracing, podSecurity, ...accounts };
  return new MeshNamespace(resource, { ...args, protect: model.production }, opts);
}

function serviceCalls(service: Service, { services }: MeshModel): DubboServiceArgs["calls"] {
  const { interval } = service;
  const calls = callsOf(service, services);
  return calls && { ...calls, intervalMs: interval === undefined ? undefined : milliseconds(interval) };
}

function dubboService(
  service: Service,
  versions: readonly ServiceVersion[],
  { model, namespace, nameOf, opts }: MeshParts,
  dependsOn: pulumi.Resource[],
): DubboService {
  const { name, offers } = service;
  const args = {
    ...service,
    application: name,
    namespace: namespace.namespace,
    serviceAccount: namespace.accountOf(name),
    clusterDomain: model.clusterDomain,
    called: offers.length > 0,
    calls: serviceCalls(service, model),
    annotations: proxyAnnotations(model.proxy),
    versions,
    protect: model.production,
  };
  return new DubboService(nameOf(name), args, { ...opts, dependsOn });
}

/**
 * Declares the routes to a service after its pods and subsets. A service without offers has none.
 */
function routesTo(service: Service, dependsOn: pulumi.Resource[], parts: MeshParts): pulumi.Resource[] {
  if (service.offers.length === 0) return [];
  const { nameOf, opts } = parts;
  const part = `${service.name}-routes`;
  return [new ProviderRoutes(nameOf(part), trafficArgs(service, parts), { ...opts, dependsOn })];
}

/**
 * Declares the services, each after the rules of its calls and the routes to its callees. In a
 * cycle of calls, the routes to one service come after its callers. An application on Node.js waits
 * for its providers.
 */
function dubboServices(
  parts: MeshParts,
  rules: CallRules,
  versionsOf: (service: Service) => readonly ServiceVersion[],
): ReadonlyMap<string, DubboService> {
  const made = new Map<string, DubboService>();
  const routes = new Map<string, pulumi.Resource[]>();
  for (const service of calleesFirst(parts.model.services)) {
    const { name, calls } = service;
    const before = calls.flatMap((callee) => routes.get(callee) ?? []);
    const needed = [...rulesOf(service, rules, parts.model), ...before];
    const deployed = dubboService(service, versionsOf(service), parts, needed);
    made.set(name, deployed);
    routes.set(name, routesTo(service, [deployed, ...(rules.traffic.get(name) ?? [])], parts));
  }
  return made;
}
