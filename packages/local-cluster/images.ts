/** The images of a cluster that is made from packages: built by the docker engine, which reaches no network, and kept in it. */
import {
  copyFileSync,
  linkSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { execa } from "execa";
import { keyOf } from "../../common/artifacts/artifact.ts";
import { CACHE_DIR, binaryPath } from "../../common/artifacts/cache.ts";
import { step } from "../../common/steps.ts";
import { artifactKey } from "./artifacts.ts";
import { docker, dockerEnvironment, hasImage } from "./docker.ts";
import { BASE_IMAGE, NAME } from "../../common/local-cluster.ts";
import { program } from "./packages.ts";
import { DEBIAN_SUITE, ISTIO_TAG, KUBERNETES, NETWORK_POLICIES } from "./versions.ts";

const IMAGES_DIR = join(CACHE_DIR, "images");
const CONTEXT = "context.tmp";
const DEBIAN_IMAGE = `${NAME}/debian:${DEBIAN_SUITE}`;
const NODE_FILES_IMAGE = `${NAME}/node-files:${DEBIAN_SUITE}`;

/** Name of Istio's images before the slash: they lie in the node, and are pulled from nowhere. */
export const ISTIO_HUB = "localhost/istio";

/** Image of what enforces network policies. */
export const POLICIES_IMAGE = `localhost/kube-network-policies:${NETWORK_POLICIES}`;

interface Image {
  /** The folder of its Dockerfile. */
  readonly name: string;
  readonly reference: string;
  /** What its Dockerfile copies, from the cache. */
  readonly files: readonly string[];
}

const IMAGES: readonly Image[] = [
  { name: "kube", reference: `${NAME}/kube:${KUBERNETES}`, files: [binaryPath("kube")] },
  { name: "coredns", reference: `${NAME}/coredns:1`, files: [binaryPath("coredns")] },
  { name: "pause", reference: `${NAME}/pause:1`, files: [] },
  { name: "pilot", reference: `${ISTIO_HUB}/pilot:${ISTIO_TAG}`, files: [binaryPath("pilot-discovery")] },
  {
    name: "proxyv2",
    reference: `${ISTIO_HUB}/proxyv2:${ISTIO_TAG}`,
    files: [binaryPath("pilot-agent"), binaryPath("envoy"), join(IMAGES_DIR, "envoy_bootstrap_tmpl.json")],
  },
  { name: "policies", reference: POLICIES_IMAGE, files: [binaryPath("kube-network-policies")] },
  { name: "node", reference: BASE_IMAGE, files: [binaryPath("node")] },
];

function dockerfile(name: string): string {
  return join(import.meta.dirname, "images", name, "Dockerfile");
}

/** The node's image; its tag names all that it is made of. */
export function nodeImage(): string {
  const inputs = IMAGES.flatMap(({ name, reference, files }) => [
    reference,
    readFileSync(dockerfile(name), "utf8"),
    ...files.map((file) => artifactKey(basename(file))),
  ]);
  const own = [readFileSync(dockerfile("kind"), "utf8"), artifactKey("base.tar"), artifactKey("node.tar")];
  return `${NAME}/node:${keyOf(...own, ...inputs)}`;
}

/** Builds the node's image, and those that it holds, unless the engine has it. */
export async function makeNodeImage(reference: string): Promise<void> {
  if (await hasImage(reference)) return;
  await step("build the node's image", async () => {
    for (const old of readdirSync(IMAGES_DIR))
      if (old.startsWith(CONTEXT)) rmSync(join(IMAGES_DIR, old), { recursive: true }); // of an interrupted run
    await docker(["import", "--change", 'CMD ["/bin/sh"]', join(IMAGES_DIR, "base.tar"), DEBIAN_IMAGE]);
    await docker(["import", join(IMAGES_DIR, "node.tar"), NODE_FILES_IMAGE]);
    for (const image of IMAGES) await buildImage(image, DEBIAN_IMAGE);
    const empty = { name: "kind", reference: `${NAME}/node-without-images:1`, files: [binaryPath("kube")] };
    await buildImage(empty, NODE_FILES_IMAGE, { version: KUBERNETES });
    await withImages(empty.reference, reference);
    await removeOld(reference);
  });
}

async function buildImage(
  image: Image,
  base: string,
  texts: Readonly<Record<string, string>> = {},
): Promise<void> {
  const context = mkdtempSync(join(IMAGES_DIR, CONTEXT));
  try {
    copyFileSync(dockerfile(image.name), join(context, "Dockerfile"));
    // The cache and the context share a file system: a link saves copying hundreds of megabytes.
    for (const file of image.files) linkSync(file, join(context, basename(file)));
    for (const [name, text] of Object.entries(texts)) writeFileSync(join(context, name), text);
    const options = [
      "--quiet",
      "--label",
      NAME,
      "--build-arg",
      `BASE_IMAGE=${base}`,
      "--tag",
      image.reference,
    ];
    await docker(["build", ...options, context]);
  } finally {
    rmSync(context, { recursive: true });
  }
}

/** Removes the images of earlier builds, a gigabyte and more each. */
async function removeOld(current: string): Promise<void> {
  const filter = ["--filter", `reference=${NAME}/node`];
  const { stdout } = await docker(["images", ...filter, "--format", "{{.Repository}}:{{.Tag}}"]);
  const old = stdout.split("\n").filter((reference) => reference !== "" && reference !== current);
  // One that a cluster still runs on stays.
  if (old.length > 0) await docker(["rmi", ...old], { mayFail: true });
  await docker(["image", "prune", "--force", "--filter", `label=${NAME}`]);
}

/** Puts the images of the control plane and of Istio into a node's containerd, under the names that kubeadm and containerd know. */
async function withImages(empty: string, reference: string): Promise<void> {
  const builder = `${NAME}-build`;
  await docker(["rm", "--force", "--volumes", builder], { mayFail: true }); // of an interrupted run
  const options = ["--name", builder, "--network", "none", "--security-opt", "seccomp=unconfined"];
  await docker(["run", "--detach", ...options, "--entrypoint", "containerd", empty]);
  try {
    const images = await renamed(builder);
    const inside = ["exec", "--interactive", builder, "ctr", "--namespace", "k8s.io", "images", "import"];
    const how = [
      "--label=io.cri-containerd.pinned=pinned",
      "--all-platforms",
      "--no-unpack",
      "--digests",
      "-",
    ];
    const env = dockerEnvironment();
    await execa(program("docker"), ["save", ...images], { env, buffer: false }).pipe(
      program("docker"),
      [...inside, ...how],
      { env },
    );
    await docker(["stop", builder]);
    const entrypoint = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]';
    await docker(["commit", "--change", entrypoint, builder, reference]);
  } finally {
    await docker(["rm", "--force", "--volumes", builder], { mayFail: true });
  }
}

/** Names the images as kubeadm and containerd want them, and returns all that belong into a node. */
async function renamed(builder: string): Promise<string[]> {
  const list = await execa(binaryPath("kube"), [
    "kubeadm",
    "config",
    "images",
    "list",
    "--kubernetes-version",
    KUBERNETES,
  ]);
  const { stdout: configuration } = await docker(["exec", builder, "cat", "/etc/containerd/config.toml"]);
  const [, pause = ""] = /sandbox_image = "(.*)"/.exec(configuration) ?? [];
  const wanted = [...list.stdout.split("\n").filter((name) => !name.includes("/pause:")), pause];
  for (const name of wanted) {
    const image = ["coredns", "pause"].find((each) => name.includes(`/${each}`)) ?? "kube";
    await docker(["tag", IMAGES.find((each) => each.name === image)?.reference ?? "", name]);
  }
  const own = IMAGES.filter(({ reference }) => reference.startsWith("localhost/"));
  return [...wanted, ...own.map(({ reference }) => reference)];
}
