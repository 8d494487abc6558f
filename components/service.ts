import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import type { Runtime } from "../settings/names.ts";
import type { DubboProperties } from "../settings/properties.ts";
import type { Resources } from "../settings/resources.ts";
import type { Scale } from "../settings/scale.ts";
import type { Reference } from "./runtime.ts";
import { deploy, type ProxyConfig, service } from "./workload.ts";

/** One version of a service: a Deployment, and a subset of the calls to it. */
export interface ServiceVersion extends Scale {
  /** Label `version`; plain, since resources are named after it. */
  name: string;
  /** The image, by digest. */
  image: pulumi.Input<string>;
}

/** Arguments of {@link DubboService}. */
export interface DubboServiceArgs {
  /** Dubbo application name and name of the Service. */
  application: string;
  /** Namespace of the service, and of those that it calls. */
  namespace: pulumi.Input<string>;
  /** Account the pods run as. */
  serviceAccount: pulumi.Input<string>;
  /** What the images run on; plain, since the pods' shape follows from it. */
  runtime: Runtime;
  /** Triple port, 1 to 65535. A Java application that offers nothing serves nothing there. */
  port: number;
  /** DNS suffix of the cluster's Services, such as `cluster.local`. */
  clusterDomain: string;
  /** Whether others call it: its Deployments are then named after their versions. Plain, since that is replaced, not changed. */
  called: boolean;
  /** What it calls; undefined for nothing. */
  calls?: Omit<Reference, "clusterDomain"> | undefined;
  /** How long an ending pod answers NOT_SERVING before it closes, seconds; longer than its callers need to notice. */
  drainSeconds: number;
  /** How long calls in flight may take after the drain, seconds: the longest deadline of its callers and its own. */
  finishSeconds: number;
  /** Further Dubbo properties. */
  properties: DubboProperties;
  /** Resources of the application's container. */
  resources: Resources;
  /** Further annotations of the pods. */
  annotations: Readonly<Record<string, string>>;
  /** The versions that run, at least one. */
  versions: readonly ServiceVersion[];
  /** Whether Pulumi refuses to delete or replace the Service; plain, since it is an option of the resource. Default: false. */
  protect?: boolean;
}

/**
 * What a caller's Envoy counts beside Istio's defaults. Without `upstream_cx_total` Envoy believes that a cluster
 * has no traffic and checks it at `no_traffic_interval` all the time; the others are what `make verify` reads.
 * Source: https://istio.io/latest/docs/ops/configuration/telemetry/envoy-stats/
 */
export const PROXY_CONFIG: ProxyConfig = {
  proxyStatsMatcher: {
    inclusionRegexps: [
      "cluster\\.outbound.*(health_check|membership|ssl|outlier_detection|upstream_cx_total|upstream_rq_).*",
    ],
  },
};

/** A Dubbo application of the mesh, provider, consumer or both: its Service, and one Deployment a version. */
export class DubboService extends pulumi.ComponentResource {
  /** The Service's name in DNS. */
  readonly host: pulumi.Output<string>;
  /** Where it is called in the cluster, `host:port`. */
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
