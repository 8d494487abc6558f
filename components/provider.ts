import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { portNumber } from "../lib/port.ts";
import { checked } from "./check.ts";
import { deployment, env, FINISH_SECONDS, service } from "./workload.ts";

/** One version of the provider: a Deployment, and a subset of the traffic. */
export interface ProviderVersion {
  /** Label `version` and suffix of the Deployment's name; plain, since resources are named after it. */
  name: string;
  /** Pods. */
  replicas: pulumi.Input<number>;
}

/** Arguments of {@link DubboProvider}. */
export interface DubboProviderArgs {
  /** Dubbo application name and name of the Service. */
  application: pulumi.Input<string>;
  /** Namespace of the provider. */
  namespace: pulumi.Input<string>;
  /** Account the pods run as. */
  serviceAccount: pulumi.Input<string>;
  /** The image, by digest. */
  image: pulumi.Input<string>;
  /** Triple port, 1 to 65535; the seed's is 50052. */
  port: pulumi.Input<number>;
  /** DNS suffix of the cluster's Services, such as `cluster.local`. */
  clusterDomain: pulumi.Input<string>;
  /** How long an ending pod answers NOT_SERVING before it closes, seconds; longer than its callers need to notice. */
  drainSeconds: pulumi.Input<number>;
  /** The versions that run, at least one. */
  versions: readonly ProviderVersion[];
}

/** A Dubbo provider: its Service and one Deployment a version. */
export class DubboProvider extends pulumi.ComponentResource {
  /** The Service's name in DNS. */
  readonly host: pulumi.Output<string>;
  /** Where callers reach it in the cluster, `host:port`. */
  readonly address: pulumi.Output<string>;

  constructor(name: string, args: DubboProviderArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:provider:DubboProvider", name, {}, opts);
    const { application, namespace, clusterDomain } = args;
    const port = checked(this, "port", args.port, portNumber);
    const drainSeconds = checked(this, "drainSeconds", args.drainSeconds, z.number().min(0));
    new kubernetes.core.v1.Service(`${name}-service`, service(application, namespace, port), {
      parent: this,
    });
    for (const version of args.versions) {
      new kubernetes.apps.v1.Deployment(
        `${name}-${version.name}`,
        deployment({
          ...args,
          name: pulumi.interpolate`${application}-${version.name}`,
          version: version.name,
          replicas: checked(this, "replicas", version.replicas, z.int().min(0)),
          port,
          env: [
            env("DUBBO_PROTOCOL_PORT", port),
            env("DUBBO_SERVICE_SHUTDOWN_WAIT", pulumi.output(drainSeconds).apply(wholeMilliseconds)),
          ],
          gracePeriod: pulumi.output(drainSeconds).apply((drain) => Math.ceil(drain) + FINISH_SECONDS),
        }),
        { parent: this },
      );
    }
    this.host = pulumi.interpolate`${application}.${namespace}.svc.${clusterDomain}`;
    this.address = pulumi.interpolate`${this.host}:${port}`;
    this.registerOutputs({ host: this.host, address: this.address });
  }
}

function wholeMilliseconds(secondsLong: number): number {
  return Math.round(secondsLong * 1000);
}
