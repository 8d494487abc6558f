import * as pulumi from "@pulumi/pulumi";
import { DubboMesh } from "../components/mesh.ts";

/**
 * Keeps the resources of stacks from before {@link DubboMesh}. The parts of a mesh had no component
 * around them, and no prefix in their names.
 */
export const keepFormerNames: pulumi.ResourceTransformation = ({ name, props, opts }) => {
  if (!(opts.parent instanceof DubboMesh)) return undefined;
  const part = name.replace(/^mesh-/, "");
  const alias = { name: part === "namespace" ? "mesh" : part, parent: pulumi.rootStackResource };
  return { props, opts: { ...opts, aliases: [alias] } };
};
