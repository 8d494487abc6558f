import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { BASE_IMAGE } from "../../common/local-cluster.ts";
import { step } from "../../common/steps.ts";
import { CHARTS } from "../../packages/local-cluster/artifacts.ts";
import { docker, ENGINE_ADDRESS } from "../../packages/local-cluster/docker.ts";
import { ISTIO_HUB, nodeImage } from "../../packages/local-cluster/images.ts";
import { istioArgs } from "../../packages/local-cluster/istio.ts";
import { podNetwork } from "../../packages/local-cluster/kind.ts";
import { packagedRegistry } from "../../packages/local-cluster/registry.ts";
import { ISTIO_TAG } from "../../packages/local-cluster/versions.ts";

const CONTAINER = "published";
const PORT = 5002;
/** Registry of the published images and charts, on the loopback device of docker's engine. */
const REGISTRY = `localhost:${PORT}`;

/** Version of the charts and of Istio's images. */
export const { version: VERSION } = istioArgs("public", {});

/** Images by digest, and Istio's charts and images, as their publishers offer them. */
export interface Published {
  readonly node: string;
  readonly registry: string;
  readonly base: string;
  readonly charts: string;
  readonly hub: string;
}

/**
 * Files that a published node image has and the image from packages lacks: its pod network, and the
 * way to REGISTRY. Kubernetes 1.35 refuses cgroup v1, which this machine may have.
 */
const NODE_FILES: Readonly<Record<string, string>> = {
  "/etc/cni/net.d/10-pods.conflist": JSON.stringify(podNetwork("10.244.0.0/24")),
  // kind applies this manifest. It must have an object.
  "/kind/manifests/default-cni.yaml": JSON.stringify({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "pod-network", namespace: "kube-system" },
  }),
  [`/etc/containerd/certs.d/${REGISTRY}/hosts.toml`]: `[host."http://${ENGINE_ADDRESS}:${PORT}"]`,
  "/etc/kubelet.d/cgroup.conf": JSON.stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    failCgroupV1: false,
  }),
};

function nodeDockerfile(): string {
  const writes = Object.entries(NODE_FILES).map(
    ([path, text]) => `mkdir -p $(dirname ${path}) && printf '%s' '${text}' > ${path}`,
  );
  const kubelet = "sed -i 's|^KUBELET_EXTRA_ARGS=|&--config-dir=/etc/kubelet.d |' /etc/default/kubelet";
  return `FROM ${nodeImage()}\nRUN ${[...writes, kubelet].join(" && ")}\n`;
}

function registryDockerfile(): string {
  const [, program = "", image = "", ...args] = packagedRegistry(nodeImage());
  return `FROM ${image}\nENTRYPOINT ${JSON.stringify([program, ...args])}\n`;
}

/**
 * Pushes an image, and removes it from the engine, which then has to pull it.
 * @returns its reference by digest
 */
async function push(name: string): Promise<string> {
  const { stdout } = await docker(["push", `${REGISTRY}/${name}`]);
  const [digest] = /sha256:[0-9a-f]{64}(?= size)/.exec(stdout) ?? [];
  if (digest === undefined) throw new Error(`docker push prints no digest: ${stdout}`);
  await docker(["rmi", `${REGISTRY}/${name}`]);
  return `${REGISTRY}/${name.replace(/:.*/, "")}@${digest}`;
}

async function pushBuilt(name: string, dockerfile: string): Promise<string> {
  const options = ["--quiet", "--network", "none", "--tag", `${REGISTRY}/${name}`];
  await docker(["build", ...options, "-"], { input: dockerfile });
  return push(name);
}

async function pushTagged(image: string, name: string): Promise<string> {
  await docker(["tag", image, `${REGISTRY}/${name}`]);
  return push(name);
}

/** Sends a request to the registry, which this machine reaches by the engine's address. */
async function request(method: string, path: string, type: string, body?: Buffer): Promise<Response> {
  const url = new URL(path, `http://${ENGINE_ADDRESS}:${PORT}/v2/`);
  const answer = await fetch(url, { method, headers: { "content-type": type }, body: body ?? null });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer;
}

interface Descriptor {
  readonly mediaType: string;
  readonly size: number;
  readonly digest: string;
}

async function uploadBlob(repository: string, mediaType: string, content: Buffer): Promise<Descriptor> {
  const digest = `sha256:${createHash("sha256").update(content).digest("hex")}`;
  const started = await request("POST", `${repository}/blobs/uploads/`, "");
  const place = new URL(started.headers.get("location") ?? "");
  place.searchParams.set("digest", digest);
  await request("PUT", `${place.pathname}${place.search}`, "application/octet-stream", content);
  return { mediaType, size: content.length, digest };
}

/** Pushes a chart. Source: https://helm.sh/docs/topics/registries/#helm-chart-manifest */
async function pushChart(name: string, archive: Buffer): Promise<void> {
  const [repository, helm] = [`charts/${name}`, "application/vnd.cncf.helm"];
  const metadata = Buffer.from(JSON.stringify({ name, version: VERSION, apiVersion: "v2" }));
  const config = await uploadBlob(repository, `${helm}.config.v1+json`, metadata);
  const layer = await uploadBlob(repository, `${helm}.chart.content.v1.tar+gzip`, archive);
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [layer] });
  await request("PUT", `${repository}/manifests/${VERSION}`, mediaType, Buffer.from(manifest));
}

/** Replaces each pattern in a file, which must contain it. */
function edit(file: string, changes: readonly (readonly [RegExp, string])[]): void {
  const text = changes.reduce(
    (before, [pattern, replacement]) => {
      if (!pattern.test(before)) throw new Error(`${file} does not contain ${String(pattern)}`);
      return before.replace(pattern, replacement);
    },
    readFileSync(file, "utf8"),
  );
  writeFileSync(file, text);
}

/**
 * Defaults of a released chart: the tag of its images. Stock Envoy lacks some of Istio's filters.
 */
const RELEASED = [
  [/^( {4}tag: )latest$/m, `$1${VERSION}`],
  [/^( {2}telemetry:\n {4}enabled: )true$/m, "$1false"],
  [/^( {2}env: ){}$/m, '$1{ PILOT_ENABLE_METADATA_EXCHANGE: "false", PILOT_ENABLE_ALPN_FILTER: "false" }'],
] as const;

async function publishChart(
  name: string,
  folder: string,
  changes: readonly (readonly [RegExp, string])[] = [],
): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), "dubbo-mesh-chart-"));
  try {
    const chart = join(scratch, name);
    cpSync(join(CHARTS, folder), chart, { recursive: true });
    edit(join(chart, "Chart.yaml"), [
      [/^version: .*$/m, `version: ${VERSION}`],
      [/^appVersion: .*$/m, `appVersion: ${VERSION}`],
    ]);
    edit(join(chart, "values.yaml"), changes);
    const { stdout } = await execa("tar", ["-czf", "-", "-C", scratch, name], { encoding: "buffer" });
    await pushChart(name, Buffer.from(stdout));
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/**
 * Publishes the images of a local cluster in a registry on the engine's loopback device. The engine
 * runs and has the node image.
 */
export async function publish(): Promise<Published> {
  return step("publish images and charts", async () => {
    const where = ["--name", CONTAINER, "--network", "host", "--env", `REGISTRY_HTTP_ADDR=:${PORT}`];
    await unpublish();
    await docker(["run", "--detach", ...where, ...packagedRegistry(nodeImage())]);
    for (const name of ["pilot", "proxyv2"])
      await pushTagged(`${ISTIO_HUB}/${name}:${ISTIO_TAG}`, `istio/${name}:${VERSION}`);
    await publishChart("base", "base");
    await publishChart("istiod", "istio-control/istio-discovery", RELEASED);
    return {
      node: await pushBuilt("kindest/node:test", nodeDockerfile()),
      registry: await pushBuilt("library/registry:test", registryDockerfile()),
      base: await pushTagged(BASE_IMAGE, "library/node:test"),
      charts: `oci://${REGISTRY}/charts`,
      hub: `${REGISTRY}/istio`,
    };
  });
}

/** Removes the registry with its images, and all that a failed test has left in the engine. */
export async function unpublish(): Promise<void> {
  const { stdout } = await docker(["ps", "--all", "--quiet"]);
  const containers = stdout.split("\n").filter(Boolean);
  if (containers.length > 0) await docker(["rm", "--force", "--volumes", ...containers]);
  await docker(["network", "prune", "--force"]);
}
