/** Component plugin: DubboMesh for programs in YAML, Python, Go and other languages. */
import * as pulumi from "@pulumi/pulumi";
import type { ConstructResult, Provider } from "@pulumi/pulumi/provider/index.js";
import { UserError } from "../../common/errors.ts";
import { DubboMesh, type DubboMeshArgs } from "../../components/mesh.ts";
import { type MeshArgs, meshOf } from "../../components/mesh-args.ts";
import manifest from "./package.json" with { type: "json" };
import schema from "./schema.json" with { type: "json" };

/** Type token of the component. */
export const TOKEN = "dubbo-mesh:mesh:DubboMesh";

/**
 * Rejects outputs as inputs. The values are parts of resource names, so they must be known at once.
 */
function rejectOutputs(inputs: pulumi.Inputs): void {
  const errors = Object.keys(inputs)
    .filter((key) => pulumi.Output.isInstance(inputs[key]))
    .map((propertyPath) => ({ propertyPath, reason: "must be a plain value: resources are named after it" }));
  if (errors.length > 0) throw new pulumi.InputPropertiesError({ message: "wrong inputs", errors });
}

function argsOf(inputs: pulumi.Inputs): DubboMeshArgs {
  rejectOutputs(inputs);
  try {
    return meshOf(inputs as MeshArgs);
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new pulumi.RunError(`${error.message}\n${error.fix}`);
  }
}

/** Serves {@link DubboMesh} to the engine. */
export class MeshProvider implements Provider {
  readonly version = manifest.version;
  readonly schema = JSON.stringify(schema);

  /** @throws pulumi.RunError, pulumi.InputPropertiesError for invalid inputs */
  construct(
    name: string,
    type: string,
    inputs: pulumi.Inputs,
    options: pulumi.ComponentResourceOptions,
  ): Promise<ConstructResult> {
    if (type !== TOKEN) return Promise.reject(new Error(`the plugin has no ${type}, only ${TOKEN}`));
    const { urn, ...mesh } = new DubboMesh(name, argsOf(inputs), options);
    const { namespace, serviceAddresses, envoyFilterNames } = mesh;
    return Promise.resolve({ urn, state: { namespace, serviceAddresses, envoyFilterNames } });
  }
}
