import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { UserError } from "./common/errors.ts";
import { DubboMesh } from "./components/mesh.ts";
import { loadOf } from "./settings/graph.ts";
import type { HealthCheckLoad } from "./settings/health-check.ts";
import { parseSettings, PROJECT, type Settings } from "./settings/settings.ts";
import { checkStack } from "./stack/checks.ts";
import { keepFormerNames } from "./stack/former-names.ts";
import { type Builds, builtImages, imageBuilds, imageOutputs, type Images } from "./stack/images.ts";
import { hideEncrypted } from "./stack/secrets.ts";

/** Outputs of the stack. */
interface Outputs {
  /** Namespace of the mesh. */
  namespace: pulumi.Output<string>;
  /** Address of each service in the cluster, host:port, by service. */
  serviceAddresses: DubboMesh["serviceAddresses"];
  /** Name of the EnvoyFilter with a caller's active health checks, by caller. */
  envoyFilterNames: DubboMesh["envoyFilterNames"];
  /** Highest load of the health checks, checks a second. */
  healthCheckLoad: HealthCheckLoad;
  /**
   * Images by service; by `service-VERSION` if its versions run different images. Built images are
   * by digest.
   */
  images: Images;
  /** kubectl context that the stack deploys to. */
  kubeContext: string;
}

/**
 * Reads the settings of the running stack. Pulumi ignores unknown keys, the schema rejects them.
 */
function loadSettings(): Settings {
  const prefix = `${PROJECT}:`;
  const own = Object.entries(pulumi.runtime.allConfig()).filter(([key]) => key.startsWith(prefix));
  return parseSettings(Object.fromEntries(own.map(([key, value]) => [key.slice(prefix.length), value])));
}

function kubernetesProvider({ context, kubeconfig }: Settings): kubernetes.Provider {
  return new kubernetes.Provider("kubernetes", {
    context,
    // Another context is another cluster. Pulumi must replace the objects, not update them.
    clusterIdentifier: context,
    ...(kubeconfig !== undefined && { kubeconfig }),
  });
}

/**
 * Prepares an error for the engine. It drops the SDK's stack frames, on which Node.js can spend
 * minutes.
 * Source: nodejs/node#64011
 */
function runError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const expected = error instanceof UserError || pulumi.ResourceError.isInstance(error);
  const fix = error instanceof UserError ? `\n${error.fix}` : "";
  const thrown = expected ? new pulumi.RunError(`${error.message}${fix}`) : error;
  thrown.stack = expected ? "" : (error.stack ?? "").replaceAll(/^.*node_modules.*\n?/gm, "");
  return thrown;
}

/** Returns the transformations of all resources of the mesh. */
async function meshTransformations(): Promise<pulumi.ResourceTransformation[]> {
  const hiding = await hideEncrypted({
    directory: import.meta.dirname,
    stack: pulumi.getStack(),
    config: pulumi.runtime.allConfig(),
    environment: process.env,
  });
  return [keepFormerNames, ...hiding];
}

function deploy(
  settings: Settings,
  builds: Builds,
  transformations: pulumi.ResourceTransformation[],
): Outputs {
  const images = builtImages(settings, builds);
  const mesh = new DubboMesh(
    "mesh",
    { ...settings, images },
    { providers: { kubernetes: kubernetesProvider(settings) }, transformations },
  );
  return {
    namespace: mesh.namespace,
    serviceAddresses: mesh.serviceAddresses,
    envoyFilterNames: mesh.envoyFilterNames,
    healthCheckLoad: loadOf(settings.services),
    images: imageOutputs(settings, images),
    kubeContext: settings.context,
  };
}

/** Check of a stack before the program declares a resource. */
type Check = (settings: Settings) => Promise<void>;

/**
 * Rejects a stack that conflicts with its cluster or with another stack. The stack files are in
 * this file's folder.
 */
async function checkEnvironment(settings: Settings): Promise<void> {
  await checkStack({ directory: import.meta.dirname, stack: pulumi.getStack(), settings });
}

/**
 * Stops the mapping of stacks to the SDK's TypeScript, which the SDK's start script turns on. Each
 * resource has a stack, so it takes 0.2 s a run. Stacks of this project need no source maps.
 * Source: @pulumi/pulumi's cmd/run/index.js, source-map-support
 */
function stopSourceMaps(): void {
  if (pulumi.runtime.hasEngine()) Reflect.deleteProperty(Error, "prepareStackTrace");
}

/**
 * Declares the stack. Pulumi calls this function without arguments.
 * @param check runs before the program declares a resource; mocks have no cluster and pass
 * `unchecked`
 * @throws pulumi.RunError for errors that the user can fix; the engine prints it as one error
 */
export default async function program(check: Check = checkEnvironment): Promise<Outputs> {
  stopSourceMaps();
  try {
    const settings = loadSettings();
    const ready = [imageBuilds(settings), meshTransformations(), check(settings)] as const;
    const [builds, transformations] = await Promise.all(ready);
    return deploy(settings, builds, transformations);
  } catch (error) {
    throw runError(error);
  }
}
