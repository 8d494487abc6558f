import type * as pulumi from "@pulumi/pulumi";
import { formerUrn, rootUrn, withAliases } from "../components/former-names.ts";
import { DubboMesh } from "../components/mesh.ts";

/**
 * Keeps the resources of stacks from before {@link DubboMesh}. The parts of a mesh had no component
 * around them, and no prefix in their names.
 */
export const keepFormerNames: pulumi.ResourceTransformation = ({ type, name, props, opts }) => {
  if (!(opts.parent instanceof DubboMesh)) return undefined;
  const part = name.replace(/^mesh-/, "");
  const [object] = formerUrn(type, part);
  const urn = object ?? rootUrn(type, part === "namespace" ? "mesh" : part);
  return { props, opts: withAliases(opts, [urn]) };
};
