import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { toYaml } from "../lib/yaml.ts";
import { portNumber } from "../lib/port.ts";
import { checked } from "./check.ts";
import { deployment, env, FINISH_SECONDS, service } from "./workload.ts";

/** Arguments of {@link DubboConsumer}. */
export interface DubboConsumerArgs {
  /** Dubbo application name and name of the Service and the Deployment. */
  application: pulumi.Input<string>;
  /** Namespace of the consumer, and of the provider that it calls. */
  namespace: pulumi.Input<string>;
  /** Account the pods run as. */
  serviceAccount: pulumi.Input<string>;
  /** The image, by digest. */
  image: pulumi.Input<string>;
  /** Triple port, on which the consumer serves its health, 1 to 65535; the seed's is 20880. */
  port: pulumi.Input<number>;
  /** DNS suffix of the cluster's Services, such as `cluster.local`. */
  clusterDomain: pulumi.Input<string>;
  /** Pods. */
  replicas: pulumi.Input<number>;
  /** Time from one call's start to the next, milliseconds. */
  intervalMs: pulumi.Input<number>;
  /** Deadline of a call, milliseconds. */
  timeoutMs: pulumi.Input<number>;
  /** Dubbo application name of the provider: the `providedBy` of a Dubbo reference. */
  providedBy: pulumi.Input<string>;
  /** Triple port of the provider: the `providerPort` of a Dubbo reference, which has no usable default in mesh mode. */
  providerPort: pulumi.Input<number>;
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
const DRAIN_MS = 0;

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
    new kubernetes.apps.v1.Deployment(
      `${name}-deployment`,
      deployment({
        ...args,
        name: application,
        version: "v1",
        replicas: checked(this, "replicas", args.replicas, z.int().min(0)),
        port,
        env: this.#env(args),
        gracePeriod: FINISH_SECONDS,
        annotations: { "proxy.istio.io/config": toYaml(PROXY_CONFIG) },
      }),
      { parent: this },
    );
    this.address = pulumi.interpolate`${application}.${namespace}.svc.${clusterDomain}:${port}`;
    this.registerOutputs({ address: this.address });
  }

  #env(args: DubboConsumerArgs): kubernetes.types.input.core.v1.EnvVar[] {
    const milliseconds = z.int().min(1);
    return [
      env("DUBBO_PROTOCOL_PORT", args.port),
      env("DUBBO_SERVICE_SHUTDOWN_WAIT", DRAIN_MS),
      env("DUBBO_CONSUMER_INTERVAL", checked(this, "intervalMs", args.intervalMs, milliseconds)),
      env("DUBBO_CONSUMER_TIMEOUT", checked(this, "timeoutMs", args.timeoutMs, milliseconds)),
      env("DUBBO_REFERENCE_PROVIDED_BY", args.providedBy),
      env("DUBBO_REFERENCE_PROVIDER_PORT", checked(this, "providerPort", args.providerPort, portNumber)),
      env("CLUSTER_DOMAIN", args.clusterDomain),
      { name: "POD_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
    ];
  }
}
