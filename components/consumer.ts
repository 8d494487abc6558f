import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import type { Runtime } from "../lib/names.ts";
import { portNumber } from "../lib/port.ts";
import type { Properties } from "../lib/properties.ts";
import type { Resources } from "../lib/resources.ts";
import type { Scale } from "../lib/scale.ts";
import { checked } from "./check.ts";
import type { Reference } from "./runtime.ts";
import { deploy, service } from "./workload.ts";

/** Arguments of {@link DubboConsumer}. */
export interface DubboConsumerArgs extends Scale {
  /** Dubbo application name and name of the Service and the Deployment. */
  application: pulumi.Input<string>;
  /** Namespace of the consumer, and of the provider that it calls. */
  namespace: pulumi.Input<string>;
  /** Account the pods run as. */
  serviceAccount: pulumi.Input<string>;
  /** The image, by digest. */
  image: pulumi.Input<string>;
  /** What the image runs on; plain, since the pods' shape follows from it. */
  runtime: Runtime;
  /** Triple port, on which the consumer serves its health, 1 to 65535; the seed's is 20880. A Java consumer serves nothing there. */
  port: pulumi.Input<number>;
  /** DNS suffix of the cluster's Services, such as `cluster.local`. */
  clusterDomain: pulumi.Input<string>;
  /** Time from one call's start to the next, milliseconds; a Java consumer has a pace of its own. */
  intervalMs: pulumi.Input<number>;
  /** Deadline of a call, milliseconds; as long may an ending consumer take to finish its calls. */
  timeoutMs: pulumi.Input<number>;
  /** Dubbo application name of the provider: the `providedBy` of a Dubbo reference. */
  providedBy: pulumi.Input<string>;
  /** Triple port of the provider: the `providerPort` of a Dubbo reference, which has no usable default in mesh mode. */
  providerPort: pulumi.Input<number>;
  /** Further Dubbo properties. */
  properties: Properties;
  /** Resources of the application's container. */
  resources: pulumi.Input<Resources>;
  /** Further annotations of the pods. */
  annotations: Readonly<Record<string, pulumi.Input<string>>>;
}

/**
 * What the consumer's Envoy counts beside Istio's defaults. Without `upstream_cx_total` Envoy believes that a cluster
 * has no traffic and checks it at `no_traffic_interval` all the time; the others are what `make verify` reads.
 * Source: https://istio.io/latest/docs/ops/configuration/telemetry/envoy-stats/
 */
export const PROXY_CONFIG = {
  proxyStatsMatcher: {
    inclusionRegexps: [
      "cluster\\.outbound.*(health_check|membership|ssl|outlier_detection|upstream_cx_total|upstream_rq_).*",
    ],
  },
};

/** The consumer's own drain: it takes no calls, so nobody has to notice that it ends. */
const DRAIN_SECONDS = 0;

/** A Dubbo consumer: its Service and its Deployment. */
export class DubboConsumer extends pulumi.ComponentResource {
  /** Where its health is served in the cluster, `host:port`. */
  readonly address: pulumi.Output<string>;

  constructor(name: string, args: DubboConsumerArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:consumer:DubboConsumer", name, {}, opts);
    const { application, namespace, clusterDomain } = args;
    const port = checked(this, "port", args.port, portNumber);
    new kubernetes.core.v1.Service(`${name}-service`, service(application, namespace, port), {
      parent: this,
    });
    const reference = this.#reference(args);
    const workload = {
      ...args,
      name: application,
      version: "v1",
      port,
      drainSeconds: DRAIN_SECONDS,
      finishSeconds: pulumi.output(reference.timeoutMs).apply((timeout) => timeout / 1000),
      reference,
      proxyConfig: PROXY_CONFIG,
    };
    deploy(`${name}-deployment`, workload, this);
    this.address = pulumi.interpolate`${application}.${namespace}.svc.${clusterDomain}:${port}`;
    this.registerOutputs({ address: this.address });
  }

  #reference({ providedBy, clusterDomain, ...args }: DubboConsumerArgs): Reference {
    const milliseconds = z.int().min(1);
    return {
      intervalMs: checked(this, "intervalMs", args.intervalMs, milliseconds),
      timeoutMs: checked(this, "timeoutMs", args.timeoutMs, milliseconds),
      providedBy,
      providerPort: checked(this, "providerPort", args.providerPort, portNumber),
      clusterDomain,
    };
  }
}
