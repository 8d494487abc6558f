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

/** Names the key of the configuration in an error that does not know it. */
function keyed(key: string, error: unknown): unknown {
  if (!(error instanceof UserError)) return error;
  return new UserError(`${PROJECT}:${key}: ${error.message}`, error.fix, { cause: error });
}

/**
 * Prepares the builds of all images, side by side: bundles applications of apps/, once for all services that
 * run one, and looks at folders of the user's own.
 * @throws UserError where an application or a folder is missing, esbuild's BuildFailure
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
  // What apps/ runs while it is built needs no network, and BuildKit asks for the engine's bridge, which may not be there.
  const network = build === undefined ? "none" : "default";
  const push = load === undefined;
  const args = { reference, context, dockerfile, baseImage, platform, network, push };
  const image = new ApplicationImage(name, args, { providers: { docker: provider } }).reference;
  // Only an update loads: under mocks, as in a preview, there is nothing to load into.
  const isUpdate = pulumi.runtime.hasEngine() && !pulumi.runtime.isDryRun();
  return push || !isUpdate ? image : image.apply((built) => loadImage(built, load));
}

function dockerProvider({ dockerHost }: Settings): docker.Provider {
  return new docker.Provider("docker", { ...(dockerHost !== undefined && { host: dockerHost }) });
}

/** Images by service. */
export type Images = Readonly<Record<string, pulumi.Input<string>>>;

/** Builds the image of each service that has versions without an image, once for all of them. */
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

/** Returns the images by service; by `service-VERSION` where its versions run different ones. */
export function imageOutputs({ services }: Settings, built: Images): Images {
  const named = services.flatMap(({ name, versions }) => {
    const run = versions.map(({ name: version, image }) => [version, image ?? built[name] ?? ""] as const);
    const [first, ...others] = new Set(run.map(([, image]) => image));
    if (first !== undefined && others.length === 0) return [[name, first] as const];
    return run.map(([version, image]) => [`${name}-${version}`, image] as const);
  });
  return Object.fromEntries(named);
}
