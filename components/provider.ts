import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import type { Runtime } from "../lib/names.ts";
import { portNumber } from "../lib/port.ts";
import type { Properties } from "../lib/properties.ts";
import type { Resources } from "../lib/resources.ts";
import type { Scale } from "../lib/scale.ts";
import { checked } from "./check.ts";
import { deploy, service } from "./workload.ts";

/** One version of the provider: a Deployment, and a subset of the traffic. */
export interface ProviderVersion extends Scale {
  /** Label `version` and suffix of the Deployment's name; plain, since resources are named after it. */
  name: string;
  /** The image, by digest. */
  image: pulumi.Input<string>;
}

/** Arguments of {@link DubboProvider}. */
export interface DubboProviderArgs {
  /** Dubbo application name and name of the Service. */
  application: pulumi.Input<string>;
  /** Namespace of the provider. */
  namespace: pulumi.Input<string>;
  /** Account the pods run as. */
  serviceAccount: pulumi.Input<string>;
  /** What the images run on; plain, since the pods' shape follows from it. */
  runtime: Runtime;
  /** Triple port, 1 to 65535; the seed's is 50052. */
  port: pulumi.Input<number>;
  /** DNS suffix of the cluster's Services, such as `cluster.local`. */
  clusterDomain: pulumi.Input<string>;
  /** How long an ending pod answers NOT_SERVING before it closes, seconds; longer than its callers need to notice. */
  drainSeconds: pulumi.Input<number>;
  /** How long a call in flight may take after the drain, seconds: the deadline of its callers. */
  finishSeconds: pulumi.Input<number>;
  /** Further Dubbo properties. */
  properties: Properties;
  /** Resources of the application's container. */
  resources: pulumi.Input<Resources>;
  /** Further annotations of the pods. */
  annotations: Readonly<Record<string, pulumi.Input<string>>>;
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
    const finishSeconds = checked(this, "finishSeconds", args.finishSeconds, z.number().positive());
    new kubernetes.core.v1.Service(`${name}-service`, service(application, namespace, port), {
      parent: this,
    });
    for (const version of args.versions) {
      const workload = {
        ...args,
        ...version,
        name: pulumi.interpolate`${application}-${version.name}`,
        version: version.name,
        port,
        drainSeconds,
        finishSeconds,
      };
      deploy(`${name}-${version.name}`, workload, this);
    }
    this.host = pulumi.interpolate`${application}.${namespace}.svc.${clusterDomain}`;
    this.address = pulumi.interpolate`${this.host}:${port}`;
    this.registerOutputs({ host: this.host, address: this.address });
  }
}
