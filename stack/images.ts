import * as docker from "@pulumi/docker";
import * as pulumi from "@pulumi/pulumi";
import { bundleApplication, type ImageBuild } from "../apps/bundle.ts";
import { ApplicationImage } from "../components/image.ts";
import type { ServiceVersion } from "../components/service.ts";
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
  prepared: ImageBuild | undefined,
  provider: docker.Provider,
): pulumi.Output<string> {
  if (prepared === undefined) throw new Error(`service ${name} has neither app nor build nor image`);
  const { context, dockerfile, tag } = prepared;
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

/** Versions of each service, by its name. */
export type Versions = ReadonlyMap<string, readonly ServiceVersion[]>;

function dockerProvider({ dockerHost }: Settings): docker.Provider {
  return new docker.Provider("docker", { ...(dockerHost !== undefined && { host: dockerHost }) });
}

/** Versions of each service with their images. Versions without an image share one build. */
export function images(settings: Settings, builds: Builds): Versions {
  // A stack that builds no image needs no Docker plugin.
  let provider: docker.Provider | undefined;
  const run = settings.services.map((service) => {
    let shared: pulumi.Output<string> | undefined;
    const build = (): pulumi.Output<string> =>
      builtImage(service, settings, builds.get(service.name), (provider ??= dockerProvider(settings)));
    const versions = service.versions.map((version) => ({
      ...version,
      image: version.image ?? (shared ??= build()),
    }));
    return [service.name, versions] as const;
  });
  return new Map(run);
}

/** The images by service; by `service-VERSION` where its versions run different ones. */
export function imageOutputs(run: Versions): Record<string, pulumi.Input<string>> {
  const named = [...run].flatMap(([service, versions]) => {
    const [first, ...others] = new Set(versions.map(({ image }) => image));
    if (first !== undefined && others.length === 0) return [[service, first] as const];
    return versions.map(({ name, image }) => [`${service}-${name}`, image] as const);
  });
  return Object.fromEntries(named);
}
