import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import { bundleApplication, type ImageBuild } from "../apps/bundle.ts";
import { ApplicationImage } from "../components/image.ts";
import { contextImage } from "./build-context.ts";
import { UserError } from "../common/errors.ts";
import type { Service } from "../settings/graph.ts";
import { PROJECT, type Settings } from "../settings/settings.ts";
import { loadImage } from "./load.ts";

/** Builds of the services' images, by service. */
export type Builds = ReadonlyMap<string, ImageBuild>;

/** Adds the configuration key to an error. */
function keyed(key: string, error: unknown): unknown {
  if (!(error instanceof UserError)) return error;
  return new UserError(`${PROJECT}:${key}: ${error.message}`, error.fix, { cause: error });
}

/**
 * Prepares the builds of all images in parallel. Services that run the same application of apps/
 * share its bundle.
 * @throws UserError if an application or a folder is missing; BuildFailure from esbuild
 */
export async function imageBuilds({ baseImage, platform, services }: Settings): Promise<Builds> {
  const options = { baseImage, platform };
  const bundles = new Map<string, Promise<ImageBuild>>();
  const bundled = (app: string): Promise<ImageBuild> => {
    const bundle = bundles.get(app) ?? bundleApplication(app, options);
    bundles.set(app, bundle);
    return bundle;
  };
  const buildOf = async ({ app, build }: Service, index: number): Promise<ImageBuild | undefined> => {
    const entry = `services[${index}]`;
    try {
      if (build !== undefined) return contextImage(build, options);
      return app === undefined ? undefined : await bundled(app);
    } catch (error) {
      throw keyed(`${entry}.${build === undefined ? "app" : "build"}`, error);
    }
  };
  const made = await Promise.all(
    services.map(async (service, index) => {
      const isBuilt = service.versions.some(({ image }) => image === undefined);
      const build = isBuilt ? await buildOf(service, index) : undefined;
      return build === undefined ? [] : [[service.name, build] as const];
    }),
  );
  return new Map(made.flat());
}

function builtImage(
  { name, build }: Service,
  { baseImage, platform, registry, load }: Settings,
  { context, dockerfile, tag }: ImageBuild,
  provider: docker.Provider,
): pulumi.Output<string> {
  const reference = `${registry ?? ""}/${name}:${tag}`;
  // Builds of apps/ need no network. BuildKit requires the engine's bridge for one, which may be
  // missing.
  const network = build === undefined ? "none" : "default";
  const push = load === undefined;
  const args = { reference, context, dockerfile, baseImage, platform, network, push };
  const image = new ApplicationImage(name, args, { provider }).reference;
  // Load images only in an update: a preview and mocks have no cluster to load into.
  const isUpdate = pulumi.runtime.hasEngine() && !pulumi.runtime.isDryRun();
  return push || !isUpdate ? image : image.apply((built) => loadImage(built, load));
}

function dockerProvider({ dockerHost }: Settings): docker.Provider {
  return new docker.Provider("docker", { ...(dockerHost !== undefined && { host: dockerHost }) });
}

/** Images by service. */
export type Images = Readonly<Record<string, pulumi.Input<string>>>;

/** Builds one image for each service that has versions without an image. */
export function builtImages(settings: Settings, builds: Builds): Images {
  // A stack that builds no image needs no Docker plugin.
  if (builds.size === 0) return {};
  const provider = dockerProvider(settings);
  const built = settings.services.flatMap((service) => {
    const build = builds.get(service.name);
    return build === undefined
      ? []
      : [[service.name, builtImage(service, settings, build, provider)] as const];
  });
  return Object.fromEntries(built);
}

/** Returns the images by service; by `service-VERSION` if its versions run different images. */
export function imageOutputs({ services }: Settings, built: Images): Images {
  const named = services.flatMap(({ name, versions }) => {
    const run = versions.map(({ name: version, image }) => [version, image ?? built[name] ?? ""] as const);
    const [first, ...others] = new Set(run.map(([, image]) => image));
    if (first !== undefined && others.length === 0) return [[name, first] as const];
    return run.map(([version, image]) => [`${name}-${version}`, image] as const);
  });
  return Object.fromEntries(named);
}
