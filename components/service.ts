import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Runtime } from "../settings/names.ts";
import type { DubboProperties } from "../settings/properties.ts";
import type { Resources } from "../settings/resources.ts";
import type { Scale } from "../settings/scale.ts";
import type { Reference } from "./runtime.ts";
import { deploy, type ProxyConfig, service } from "./workload.ts";

/** Version of a service: one Deployment and one subset. */
export interface ServiceVersion extends Scale {
  /** Label `version` of the pods. Plain, since resources are named after it. */
  name: string;
  /** Image, with a digest or with a tag other than latest. */
  image: pulumi.Input<string>;
}

/** Arguments of {@link DubboService}. */
export interface DubboServiceArgs {
  /** Dubbo application name and name of the Service. */
  application: string;
  /** Namespace of the service and of its callees. */
  namespace: pulumi.Input<string>;
  /** ServiceAccount that the pods run as. */
  serviceAccount: pulumi.Input<string>;
  /** Runtime of the images. Plain, since the pod template depends on it. */
  runtime: Runtime;
  /** Triple port, 1 to 65535. A Java application without offers serves nothing on it. */
  port: number;
  /** DNS suffix of the cluster's Services, such as `cluster.local`. */
  clusterDomain: string;
  /**
   * True for a service that offers gRPC services. Its Deployments are then named after their
   * versions. Plain, since a new name replaces a Deployment.
   */
  called: boolean;
  /** Outgoing calls. Default: none. */
  calls?: Omit<Reference, "clusterDomain"> | undefined;
  /**
   * Time in which a terminating pod answers NOT_SERVING before it closes, seconds. It must be
   * longer than the callers' detection time.
   */
  drainSeconds: number;
  /**
   * Time for calls in flight after the drain, seconds. It must cover the longest deadline of the
   * service's incoming and outgoing calls.
   */
  finishSeconds: number;
  /** Further Dubbo properties. */
  properties: DubboProperties;
  /** Resources of the application's container. */
  resources: Resources;
  /** Further annotations of the pods. */
  annotations: Readonly<Record<string, string>>;
  /** Versions of the service, at least one. */
  versions: readonly ServiceVersion[];
  /**
   * Makes Pulumi refuse to delete or replace the Service. Plain, since it is a resource option.
   * Default: false.
   */
  protect?: boolean;
}

/**
 * Envoy statistics of a caller, in addition to Istio's defaults. Without `upstream_cx_total`, Envoy
 * finds no traffic on a cluster and always checks it at `no_traffic_interval`. `make verify` reads
 * the other statistics.
 * Source: https://istio.io/latest/docs/ops/configuration/telemetry/envoy-stats/
 */
export const PROXY_CONFIG: ProxyConfig = {
  proxyStatsMatcher: {
    inclusionRegexps: [
      "cluster\\.outbound.*(health_check|membership|ssl|outlier_detection|upstream_cx_total|upstream_rq_).*",
    ],
  },
};

/**
 * Dubbo application of the mesh: one Service, and one Deployment for each version. It may be a
 * provider, a consumer or both.
 */
export class DubboService extends pulumi.ComponentResource {
  /** DNS name of the Service. */
  readonly host: pulumi.Output<string>;
  /** Address of the Service in the cluster, `host:port`. */
  readonly address: pulumi.Output<string>;

  constructor(name: string, args: DubboServiceArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:service:DubboService", name, {}, opts);
    const { application, namespace, clusterDomain, called, port, calls } = args;
    new kubernetes.core.v1.Service(`${name}-service`, service(application, namespace, port), {
      parent: this,
      protect: args.protect ?? false,
    });
    for (const version of args.versions) {
      const workload = {
        ...args,
        ...version,
        name: called ? `${application}-${version.name}` : application,
        version: version.name,
        ...(calls && { reference: { ...calls, clusterDomain }, proxyConfig: PROXY_CONFIG }),
      };
      deploy(`${name}-${version.name}`, workload, this);
    }
    this.host = pulumi.interpolate`${application}.${namespace}.svc.${clusterDomain}`;
    this.address = pulumi.interpolate`${this.host}:${port}`;
    this.registerOutputs({ host: this.host, address: this.address });
  }
}
