import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import { IMAGE_TYPE } from "../settings/names.ts";
import { formerUrn } from "./former-names.ts";

/** Arguments of {@link ApplicationImage}. */
export interface ApplicationImageArgs {
  /** Registry, name and tag, such as `registry/organisation/name:tag`. */
  reference: pulumi.Input<string>;
  /** Context of the build, relative to the project. The path is then the same on every machine. */
  context: pulumi.Input<string>;
  /** Dockerfile, relative to the project. */
  dockerfile: pulumi.Input<string>;
  /** Image with Node.js, which becomes the Dockerfile's BASE_IMAGE. */
  baseImage: pulumi.Input<string>;
  /** Operating system and architecture, such as `linux/amd64`. */
  platform: pulumi.Input<string>;
  /** Pushes the image to its registry. Plain, since only a pushed image has a digest. */
  push: boolean;
  /** Network of the build's commands: `none`, or docker's `default`. */
  network: pulumi.Input<string>;
}

/**
 * Time of all files of a pushed image, seconds since 1970. With a fixed time, BuildKit gives the
 * same digest on every machine.
 */
const PUSHED_EPOCH = "0";
/**
 * Time of all files of a loaded image, seconds since 1970. It must differ from PUSHED_EPOCH,
 * because equal times would give equal images. A node with the image from a registry would check
 * the registry's credentials for the loaded image, too. It would then try to pull the loaded image.
 * Source:
 * https://kubernetes.io/docs/concepts/containers/images/#ensureimagepullcredentialverification
 */
const LOADED_EPOCH = "1";

/**
 * Builds an application's image and optionally pushes it. Docker's login applies to the registry.
 */
export class ApplicationImage extends docker.Image {
  /**
   * Image by digest if it is pushed, else by tag. A preview of a build does not know the digest.
   */
  readonly reference: pulumi.Output<string>;

  constructor(name: string, args: ApplicationImageArgs, opts?: pulumi.CustomResourceOptions) {
    super(
      name,
      {
        imageName: args.reference,
        skipPush: !args.push,
        build: {
          context: args.context,
          dockerfile: args.dockerfile,
          platform: args.platform,
          args: { BASE_IMAGE: args.baseImage, SOURCE_DATE_EPOCH: args.push ? PUSHED_EPOCH : LOADED_EPOCH },
          network: args.network,
        },
      },
      pulumi.mergeOptions(opts, { aliases: formerUrn(IMAGE_TYPE, name, opts?.parent) }),
    );
    this.reference = args.push ? this.repoDigest : this.imageName;
  }
}
