import * as docker from "@pulumi/docker";
import type * as pulumi from "@pulumi/pulumi";
import { bundleApplication, type ImageBuild, type ImageOptions } from "../apps/bundle.ts";
import { ApplicationImage } from "../components/image.ts";
import type { ServiceVersion } from "../components/service.ts";
import { contextImage } from "../lib/build-context.ts";
import { UserError } from "../lib/errors.ts";
import type { Service } from "../lib/graph.ts";
import { PROJECT, type Settings } from "../settings.ts";

/** Does `work`, whose errors do not know which key of the configuration they are about. */
function about<T>(key: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`${PROJECT}:${key}: ${error.message}`, error.fix, { cause: error });
  }
}

type Builds = Map<string, ImageBuild>;

/** Bundles an application of apps/, once for all services that run it. */
function applicationBuild(app: string, options: ImageOptions, made: Builds): ImageBuild {
  const build = made.get(app) ?? bundleApplication(app, options);
  made.set(app, build);
  return build;
}

/** Build of a service's image, from apps/ or from a folder of the user's own. */
function buildOf(service: Service, { baseImage, platform, services }: Settings, made: Builds): ImageBuild {
  const { app, build, name } = service;
  const entry = `services[${services.indexOf(service)}]`;
  const options = { baseImage, platform };
  if (build !== undefined) return about(`${entry}.build`, () => contextImage(build, options));
  if (app !== undefined) return about(`${entry}.app`, () => applicationBuild(app, options, made));
  throw new Error(`service ${name} has neither app nor build nor image`);
}

function builtImage(
  service: Service,
  settings: Settings,
  provider: docker.Provider,
  made: Builds,
): pulumi.Output<string> {
  const { baseImage, platform, registry } = settings;
  const { context, dockerfile, tag } = buildOf(service, settings, made);
  const reference = `${registry ?? ""}/${service.name}:${tag}`;
  // What apps/ runs while it is built needs no network, and BuildKit asks for the engine's bridge, which may not be there.
  const network = service.build === undefined ? "none" : "default";
  const args = { reference, context, dockerfile, baseImage, platform, network };
  return new ApplicationImage(service.name, args, { providers: { docker: provider } }).digest;
}

/** Versions of each service, by its name. */
export type Versions = ReadonlyMap<string, readonly ServiceVersion[]>;

function dockerProvider({ dockerHost }: Settings): docker.Provider {
  return new docker.Provider("docker", { ...(dockerHost !== undefined && { host: dockerHost }) });
}

/** Versions of each service with their images. Versions without an image share one build. */
export function images(settings: Settings): Versions {
  // A stack that builds no image needs no Docker plugin.
  let provider: docker.Provider | undefined;
  const made: Builds = new Map();
  const run = settings.services.map((service) => {
    let shared: pulumi.Output<string> | undefined;
    const build = (): pulumi.Output<string> =>
      builtImage(service, settings, (provider ??= dockerProvider(settings)), made);
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
