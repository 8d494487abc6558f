import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";

/** Arguments of {@link ApplicationImage}. */
export interface ApplicationImageArgs {
  /** Name and tag in its registry, such as `registry/organisation/name:tag`. */
  reference: pulumi.Input<string>;
  /** The build's context, relative to the project, so that its path is the same on every machine. */
  context: pulumi.Input<string>;
  /** The Dockerfile, relative to the project. */
  dockerfile: pulumi.Input<string>;
  /** Image to take Node.js from: the Dockerfile's BASE_IMAGE. */
  baseImage: pulumi.Input<string>;
  /** Operating system and architecture, such as `linux/amd64`. */
  platform: pulumi.Input<string>;
  /** Whether it is pushed; plain, since only then it has a digest. */
  push: boolean;
  /** Network of what runs while it is built: `none`, or docker's `default`. */
  network: pulumi.Input<string>;
}

/** Time of all files of an image, in seconds since 1970: BuildKit then gives the same digest on every machine. */
const PUSHED_EPOCH = "0";
/**
 * Time of an image that is loaded. It must differ from the pushed one: a node that has pulled the same image from
 * a registry asks that registry's credentials of the loaded one as well, and then tries to pull it.
 * Source: https://kubernetes.io/docs/concepts/containers/images/#ensureimagepullcredentialverification
 */
const LOADED_EPOCH = "1";

/** Builds an application's image and, where that is wanted, pushes it. Docker's own login is used for the registry. */
export class ApplicationImage extends pulumi.ComponentResource {
  /** The pushed image by digest, unknown in the preview of a build; else the image by its tag. */
  readonly reference: pulumi.Output<string>;

  constructor(name: string, args: ApplicationImageArgs, opts?: pulumi.ComponentResourceOptions) {
    super("dubbo-mesh:image:ApplicationImage", name, {}, opts);
    const image = new docker.Image(
      `${name}-image`,
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
      { parent: this },
    );
    this.reference = args.push ? image.repoDigest : image.imageName;
    this.registerOutputs({ reference: this.reference });
  }
}
