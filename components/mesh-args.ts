import type * as pulumi from "@pulumi/pulumi";
import { type MeshInput, meshModel, type ServiceInput } from "../settings/mesh.ts";
import type { DubboMeshArgs } from "./mesh.ts";

/** Service of a mesh in a program. */
export interface ServiceArgs extends Omit<ServiceInput, "image"> {
  /**
   * Image of all versions that name none. It may be an output, such as an image that the program
   * builds.
   */
  readonly image?: pulumi.Input<string>;
}

/**
 * Mesh in a program: the keys of docs/configuration.md, without those for the cluster and the image
 * builds.
 */
export interface MeshArgs extends Omit<MeshInput, "services"> {
  /** Dubbo applications of the mesh, at least one. Plain, since resources are named after them. */
  readonly services: readonly ServiceArgs[];
}

/**
 * Checks the arguments of a mesh and fills in their defaults.
 * @throws UserError that names each wrong or unknown key
 */
export function meshOf({ services: given, ...args }: MeshArgs): DubboMeshArgs {
  const images: Record<string, pulumi.Input<string>> = {};
  const services = given.map(({ image, ...service }): ServiceInput => {
    if (image === undefined || typeof image === "string") return { ...service, image };
    images[service.name] = image;
    return service;
  });
  return { ...meshModel({ ...args, services }, Object.keys(images)), images };
}
