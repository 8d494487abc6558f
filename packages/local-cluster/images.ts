/** Images of a cluster from packages. The docker engine builds them without a network. */
import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { execa } from "execa";
import { keyOf } from "../../common/artifacts/artifact.ts";
import { binaryPath } from "../../common/artifacts/cache.ts";
import { BASE_IMAGE, NAME } from "../../common/local-cluster.ts";
import { step } from "../../common/steps.ts";
import { artifacts, partPath } from "./artifacts.ts";
import { docker, dockerReading, hasImage } from "./docker.ts";
import { DEBIAN_SUITE, ISTIO_TAG, KUBERNETES, NETWORK_POLICIES } from "./versions.ts";

const DEBIAN_IMAGE = `${NAME}/debian:${DEBIAN_SUITE}`;
const NODE_FILES_IMAGE = `${NAME}/node-files:${DEBIAN_SUITE}`;
/** Node image without the images of the control plane. */
const EMPTY_NODE_IMAGE = `${NAME}/node-without-images:1`;

/** Hub of Istio's images; the node image holds them. */
export const ISTIO_HUB = "localhost/istio";

/** Image of the program that enforces network policies. */
export const POLICIES_IMAGE = `localhost/kube-network-policies:${NETWORK_POLICIES}`;

interface Image {
  /** Folder of its Dockerfile and of other files that it copies. */
  readonly name: string;
  readonly reference: string;
  /** Parts in the cache that the Dockerfile copies. */
  readonly files: readonly string[];
  readonly base?: string;
}

const IMAGES: readonly Image[] = [
  { name: "kube", reference: `${NAME}/kube:${KUBERNETES}`, files: [binaryPath("kube")] },
  { name: "coredns", reference: `${NAME}/coredns:1`, files: [binaryPath("coredns")] },
  { name: "pause", reference: `${NAME}/pause:1`, files: [] },
  { name: "pilot", reference: `${ISTIO_HUB}/pilot:${ISTIO_TAG}`, files: [binaryPath("pilot-discovery")] },
  {
    name: "proxyv2",
    reference: `${ISTIO_HUB}/proxyv2:${ISTIO_TAG}`,
    files: [binaryPath("pilot-agent"), binaryPath("envoy"), partPath("envoy_bootstrap_tmpl.json")],
  },
  { name: "policies", reference: POLICIES_IMAGE, files: [binaryPath("kube-network-policies")] },
  { name: "node", reference: BASE_IMAGE, files: [binaryPath("node")] },
  {
    name: "kind",
    reference: EMPTY_NODE_IMAGE,
    files: [binaryPath("kube"), partPath("kind-files")],
    base: NODE_FILES_IMAGE,
  },
];

function folderOf({ name }: Image): string {
  return join(import.meta.dirname, "images", name);
}

/** Returns the reference of the node image. The tag is a digest of all inputs. */
export function nodeImage(): string {
  const keys = artifacts().map(({ key }) => key);
  const inFolder = (folder: string): string[] => readdirSync(folder).map((name) => join(folder, name));
  const files = IMAGES.map(folderOf).flatMap(inFolder).sort();
  const texts = files.map((file) => readFileSync(file, "utf8"));
  return `${NAME}/node:${keyOf(...keys, ...IMAGES.map(({ reference }) => reference), ...texts)}`;
}

/** Builds the node image and the images inside it, unless the engine has it. */
export async function makeNodeImage(reference: string): Promise<void> {
  if (await hasImage(reference)) return;
  await step("build the node's image", async () => {
    await docker(["import", "--change", 'CMD ["/bin/sh"]', partPath("base.tar"), DEBIAN_IMAGE]);
    await docker(["import", partPath("node.tar"), NODE_FILES_IMAGE]);
    for (const image of IMAGES) await buildImage(image);
    await commitNode(reference);
    await removeOld(reference);
  });
}

async function buildImage(image: Image): Promise<void> {
  const { reference, files, base = DEBIAN_IMAGE } = image;
  const parts = files.flatMap((file) => ["-C", dirname(file), basename(file)]);
  const options = ["--quiet", "--label", NAME, "--build-arg", `BASE_IMAGE=${base}`, "--tag", reference];
  await dockerReading(["tar", "-cf", "-", "-C", folderOf(image), ".", ...parts], ["build", ...options, "-"]);
}

/** Removes the images of earlier builds, each over a gigabyte, unless a cluster runs on them. */
async function removeOld(current: string): Promise<void> {
  const filter = ["--filter", `reference=${NAME}/node`];
  const { stdout } = await docker(["images", ...filter, "--format", "{{.Repository}}:{{.Tag}}"]);
  const old = stdout.split("\n").filter((reference) => reference !== "" && reference !== current);
  if (old.length > 0) await docker(["rmi", ...old], { reject: false });
  await docker(["image", "prune", "--force", "--filter", `label=${NAME}`]);
}

/**
 * Creates the node image: imports the images of the control plane and of Istio into its containerd.
 */
async function commitNode(reference: string): Promise<void> {
  const builder = `${NAME}-build`;
  const remove = ["rm", "--force", "--volumes", builder];
  await docker(remove, { reject: false }); // of an interrupted run
  const options = ["--name", builder, "--network", "none", "--security-opt", "seccomp=unconfined"];
  await docker(["run", "--detach", ...options, "--entrypoint", "containerd", EMPTY_NODE_IMAGE]);
  try {
    const images = await tagImages(builder);
    const load = ["exec", "--interactive", builder, "ctr", "--namespace", "k8s.io", "images", "import"];
    const flags = ["--label=io.cri-containerd.pinned=pinned", "--all-platforms", "--no-unpack", "--digests"];
    await dockerReading(["docker", "save", ...images], [...load, ...flags, "-"]);
    await docker(["stop", builder]);
    const entrypoint = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]';
    await docker(["commit", "--change", entrypoint, builder, reference]);
  } finally {
    await docker(remove, { reject: false });
  }
}

/**
 * Tags images with the names that kubeadm and containerd use.
 * @returns all images of a node
 */
async function tagImages(builder: string): Promise<string[]> {
  const list = ["kubeadm", "config", "images", "list", "--kubernetes-version", KUBERNETES];
  const { stdout } = await execa(binaryPath("kube"), list);
  const configuration = await docker(["exec", builder, "cat", "/etc/containerd/config.toml"]);
  const [, pause = ""] = /sandbox_image = "(.*)"/.exec(configuration.stdout) ?? [];
  const wanted = [...stdout.split("\n").filter((name) => !name.includes("/pause:")), pause];
  for (const name of wanted) {
    const image = ["coredns", "pause"].find((each) => name.includes(`/${each}`)) ?? "kube";
    await docker(["tag", IMAGES.find((each) => each.name === image)?.reference ?? "", name]);
  }
  const own = IMAGES.filter(({ reference }) => reference.startsWith("localhost/"));
  return [...wanted, ...own.map(({ reference }) => reference)];
}
