import * as kubernetes from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import { UserError } from "./common/errors.ts";
import { DubboMesh } from "./components/mesh.ts";
import { loadOf } from "./settings/graph.ts";
import type { HealthCheckLoad } from "./settings/health-check.ts";
import { parseSettings, PROJECT, type Settings } from "./settings/settings.ts";
import { checkStack } from "./stack/checks.ts";
import { type Builds, builtImages, imageBuilds, imageOutputs, type Images } from "./stack/images.ts";
import { hasSecrets, hideSpec } from "./stack/secrets.ts";

/** What the stack puts out. */
interface Outputs {
  /** Namespace of the mesh. */
  namespace: pulumi.Output<string>;
  /** Where each service is called in the cluster, host:port, by its name. */
  serviceAddresses: DubboMesh["serviceAddresses"];
  /** Name of the EnvoyFilter that holds the active health checks of a caller, by the caller's name. */
  envoyFilterNames: DubboMesh["envoyFilterNames"];
  /** Checks a second that the health check causes at most. */
  healthCheckLoad: HealthCheckLoad;
  /** The images that run, those that were built by digest, by service; by `service-VERSION` where its versions run different ones. */
  images: Images;
  /** The kubectl context that the stack deploys to. */
  kubeContext: string;
}

/** The running stack's settings. Pulumi ignores keys that it does not know; the schema does not. */
function loadSettings(): Settings {
  const prefix = `${PROJECT}:`;
  const own = Object.entries(pulumi.runtime.allConfig()).filter(([key]) => key.startsWith(prefix));
  return parseSettings(Object.fromEntries(own.map(([key, value]) => [key.slice(prefix.length), value])));
}

function kubernetesProvider({ context, kubeconfig }: Settings): kubernetes.Provider {
  return new kubernetes.Provider("kubernetes", {
    context,
    // Another context is another cluster: objects are replaced, not looked for in the new cluster.
    clusterIdentifier: context,
    ...(kubeconfig !== undefined && { kubeconfig }),
  });
}

/** The error as the engine is to print it: without the SDK's frames, on which Node.js can spend minutes (nodejs/node#64011). */
function runError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const expected = error instanceof UserError || pulumi.ResourceError.isInstance(error);
  const fix = error instanceof UserError ? `\n${error.fix}` : "";
  const thrown = expected ? new pulumi.RunError(`${error.message}${fix}`) : error;
  thrown.stack = expected ? "" : (error.stack ?? "").replaceAll(/^.*node_modules.*\n?/gm, "");
  return thrown;
}

function deploy(settings: Settings, builds: Builds): Outputs {
  const images = builtImages(settings, builds);
  const mesh = new DubboMesh(
    "mesh",
    { ...settings, images },
    {
      providers: { kubernetes: kubernetesProvider(settings) },
      transformations: hasSecrets(process.env) ? [hideSpec] : [],
    },
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

/** A check of a stack before anything is declared. */
type Check = (settings: Settings) => Promise<void>;

/** Refuses a stack that its cluster or another stack cannot take. The stack files are beside this file. */
async function checkSurroundings(settings: Settings): Promise<void> {
  await checkStack({ directory: import.meta.dirname, stack: pulumi.getStack(), settings });
}

/**
 * Composes the stack. Pulumi calls it without arguments.
 * @param check runs before anything is declared; under mocks, where there is no cluster, `unchecked`
 * @throws pulumi.RunError for errors that the user can fix; the engine prints it as one error
 */
export default async function program(check: Check = checkSurroundings): Promise<Outputs> {
  try {
    const settings = loadSettings();
    const [builds] = await Promise.all([imageBuilds(settings), check(settings)]);
    return deploy(settings, builds);
  } catch (error) {
    throw runError(error);
  }
}
