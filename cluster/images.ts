/** The images of the cluster: built by the docker engine without a network, pushed to the registry, pulled by containerd. */
import {
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { execa } from "execa";
import { step } from "../lib/steps.ts";
import { type Artifact, artifactKey, binaryPath, isMade, keyOf } from "./artifacts.ts";
import { CONTAINERD_SOCKET, PAUSE_IMAGE } from "./daemons.ts";
import { BASE_IMAGE, CACHE_DIR, DOCKER_HOST, REGISTRY, RUN_DIR } from "./local.ts";
import { program } from "./packages.ts";
import { DEBIAN_SUITE, ISTIO_TAG } from "./versions.ts";

const IMAGES_DIR = join(CACHE_DIR, "images");
const DEBIAN_IMAGE = `${REGISTRY}/dubbo-mesh/debian:${DEBIAN_SUITE}`;
const BASE_TAR = "base.tar";
const CONTEXT = "context.tmp";
/** Where Istio's images are. */
export const ISTIO_HUB = `${REGISTRY}/istio`;

interface Image {
  /** The folder of its Dockerfile. */
  readonly name: string;
  readonly reference: string;
  /** What its Dockerfile copies. */
  readonly files: readonly string[];
}

const IMAGES: readonly Image[] = [
  { name: "pause", reference: PAUSE_IMAGE, files: [] },
  { name: "node", reference: BASE_IMAGE, files: [binaryPath("node")] },
  { name: "pilot", reference: `${ISTIO_HUB}/pilot:${ISTIO_TAG}`, files: [binaryPath("pilot-discovery")] },
  {
    name: "proxyv2",
    reference: `${ISTIO_HUB}/proxyv2:${ISTIO_TAG}`,
    files: [binaryPath("pilot-agent"), binaryPath("envoy"), join(IMAGES_DIR, "envoy_bootstrap_tmpl.json")],
  },
];

function dockerfile(image: Image): string {
  return join(import.meta.dirname, "images", image.name, "Dockerfile");
}

/** The mark that all images are where they belong: in the engine, the registry and containerd. */
function mark(): Pick<Artifact, "file" | "key"> {
  const inputs = IMAGES.flatMap((image) => [
    image.reference,
    readFileSync(dockerfile(image), "utf8"),
    ...image.files.map((file) => artifactKey(basename(file))),
  ]);
  return { file: join(IMAGES_DIR, "made"), key: keyOf(artifactKey(BASE_TAR), ...inputs) };
}

/** Whether the images are made of what the cache has. */
export function imagesMade(): boolean {
  return isMade(mark());
}

/** Builds, pushes and pulls the images unless that is done. Needs the engine, the registry and containerd. */
export async function makeImages(): Promise<void> {
  const { file, key } = mark();
  if (isMade({ file, key })) return;
  await step("build the images, push them, pull them", async () => {
    rmSync(`${file}.key`, { force: true });
    for (const old of readdirSync(IMAGES_DIR)) {
      if (old.startsWith(CONTEXT)) rmSync(join(IMAGES_DIR, old), { recursive: true }); // of an interrupted run
    }
    const base = join(IMAGES_DIR, BASE_TAR);
    await docker("import", "--change", 'CMD ["/bin/sh"]', base, DEBIAN_IMAGE);
    for (const image of IMAGES) await makeImage(image);
    writeFileSync(file, "");
    writeFileSync(`${file}.key`, key);
  });
}

async function makeImage(image: Image): Promise<void> {
  const context = mkdtempSync(join(IMAGES_DIR, CONTEXT));
  try {
    copyFileSync(dockerfile(image), join(context, "Dockerfile"));
    // The cache and the context share a file system: a link saves copying hundreds of megabytes.
    for (const file of image.files) linkSync(file, join(context, basename(file)));
    await docker(
      "build",
      "--quiet",
      "--build-arg",
      `BASE_IMAGE=${DEBIAN_IMAGE}`,
      "--tag",
      image.reference,
      context,
    );
  } finally {
    rmSync(context, { recursive: true });
  }
  await docker("push", "--quiet", image.reference);
  await ctr(["images", "pull", "--plain-http", image.reference]);
}

async function docker(...args: string[]): Promise<void> {
  // A folder of its own: the user's settings may name another engine or a helper for passwords.
  const settings = `${RUN_DIR}/docker-cli`;
  mkdirSync(settings, { recursive: true });
  // The classic builder: BuildKit's plugin may be missing.
  const env = { DOCKER_HOST, DOCKER_BUILDKIT: "0", DOCKER_CONFIG: settings };
  await execa(program("docker"), args, { env, stdin: "ignore" });
}

async function ctr(
  args: readonly string[],
  options: { reject: boolean } = { reject: true },
): Promise<string> {
  const command = ["--address", CONTAINERD_SOCKET, "--namespace", "k8s.io", ...args];
  const { stdout } = await execa("ctr", command, options);
  return stdout;
}

/** Removes the containers, which have ended, from containerd's records: its folder stays in the cache. */
export async function forgetContainers(): Promise<void> {
  const names = (await ctr(["containers", "list", "--quiet"])).split("\n").filter(Boolean);
  // One that containerd has just removed by itself is no failure; one that stays is removed by the next kubelet.
  if (names.length > 0) await ctr(["containers", "remove", ...names], { reject: false });
}
