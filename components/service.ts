import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import type { Runtime } from "../settings/names.ts";
import { portNumber } from "../settings/port.ts";
import type { Properties } from "../settings/properties.ts";
import type { Resources } from "../settings/resources.ts";
import type { Scale } from "../settings/scale.ts";
import { checked } from "./check.ts";
import type { Callee, Reference } from "./runtime.ts";
import { deploy, type ProxyConfig, service } from "./workload.ts";

/** One version of a service: a Deployment, and a subset of the calls to it. */
export interface ServiceVersion extends Scale {
  /** Label `version`; plain, since resources are named after it. */
  name: string;
  /** The image, by digest. */
  image: pulumi.Input<string>;
}

/** What a service calls, and how. */
export interface ServiceCalls {
  /** Whom it calls, at least one. */
  callees: readonly Callee[];
  /** Time from one call's start to the next, milliseconds; undefined for a service that calls when it is called, or at a pace of its own. */
  intervalMs?: pulumi.Input<number> | undefined;
  /** Deadline of a call, milliseconds. */
  timeoutMs: pulumi.Input<number>;
}

/** Arguments of {@link DubboService}. */
export interface DubboServiceArgs {
  /** Dubbo application name and name of the Service. */
  application: pulumi.Input<string>;
  /** Namespace of the service, and of those that it calls. */
  namespace: pulumi.Input<string>;
  /** Account the pods run as. */
  serviceAccount: pulumi.Input<string>;
  /** What the images run on; plain, since the pods' shape follows from it. */
  runtime: Runtime;
  /** Triple port, 1 to 65535. A Java application that offers nothing serves nothing there. */
  port: pulumi.Input<number>;
  /** DNS suffix of the cluster's Services, such as `cluster.local`. */
  clusterDomain: pulumi.Input<string>;
  /** Whether others call it: its Deployments are then named after their versions. Plain, since that is replaced, not changed. */
  called: boolean;
  /** What it calls; undefined for nothing. Plain, since the pods' shape follows from it. */
  calls?: ServiceCalls | undefined;
  /** How long an ending pod answers NOT_SERVING before it closes, seconds; longer than its callers need to notice. */
  drainSeconds: pulumi.Input<number>;
  /** How long calls in flight may take after the drain, seconds: the longest deadline of its callers and its own. */
  finishSeconds: pulumi.Input<number>;
  /** Further Dubbo properties. */
  properties: Properties;
  /** Resources of the application's container. */
  resources: pulumi.Input<Resources>;
  /** Further annotations of the pods. */
  annotations: Readonly<Record<string, pulumi.Input<string>>>;
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

const milliseconds = z.int().min(1);

/** A Dubbo application of the mesh, provider, consumer or both: its Service, and one Deployment a version. */
export class DubboService extends pulumi.ComponentResource {
  /** The Service's name in DNS. */
  readonly host: pulumi.Output<string>;
  /** Where it is called in the cluster, `host:port`. */
  readonly address: pulumi.Output<string>;

  constructor(name: string, args: DubboServiceArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:service:DubboService", name, {}, opts);
    const { application, namespace, clusterDomain, called } = args;
    const port = checked(this, "port", args.port, portNumber);
    const drainSeconds = checked(this, "drainSeconds", args.drainSeconds, z.number().min(0));
    const finishSeconds = checked(this, "finishSeconds", args.finishSeconds, z.number().positive());
    new kubernetes.core.v1.Service(`${name}-service`, service(application, namespace, port), {
      parent: this,
      protect: args.protect ?? false,
    });
    const reference = this.#reference(args);
    for (const version of args.versions) {
      const workload = {
        ...args,
        ...version,
        name: called ? pulumi.interpolate`${application}-${version.name}` : application,
        version: version.name,
        port,
        drainSeconds,
        finishSeconds,
        ...(reference && { reference, proxyConfig: PROXY_CONFIG }),
      };
      deploy(`${name}-${version.name}`, workload, this);
    }
    this.host = pulumi.interpolate`${application}.${namespace}.svc.${clusterDomain}`;
    this.address = pulumi.interpolate`${this.host}:${port}`;
    this.registerOutputs({ host: this.host, address: this.address });
  }

  #reference({ calls, clusterDomain }: DubboServiceArgs): Reference | undefined {
    if (calls === undefined) return undefined;
    const { callees, intervalMs, timeoutMs } = calls;
    return {
      callees: callees.map((callee) => ({
        ...callee,
        port: checked(this, `port of ${callee.services.join(", ")}`, callee.port, portNumber),
      })),
      intervalMs:
        intervalMs === undefined ? undefined : checked(this, "intervalMs", intervalMs, milliseconds),
      timeoutMs: checked(this, "timeoutMs", timeoutMs, milliseconds),
      clusterDomain,
    };
  }
}
