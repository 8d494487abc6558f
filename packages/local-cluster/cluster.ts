/** The local cluster: up, down, status. The other files of this folder hold its parts. */
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { totalmem } from "node:os";
import { join } from "node:path";
import { CommandError } from "@pulumi/pulumi/automation/index.js";
import { execa, ExecaError } from "execa";
import { z } from "zod";
import { keyOf, makeArtifact } from "../../common/artifacts/artifact.ts";
import { CACHE_DIR, requireRoom } from "../../common/artifacts/cache.ts";
import { requireGo } from "../../common/artifacts/go.ts";
import { UserError } from "../../common/errors.ts";
import { KUBECONFIG, NAME, STATE_DIR } from "../../common/local-cluster.ts";
import { exclusively } from "../../common/lock.ts";
import { elapsed, step } from "../../common/steps.ts";
import { BUILD_DIR, POLICIES_FILE, missingArtifacts } from "./artifacts.ts";
import {
  docker,
  engineAnswers,
  explained,
  isOwnEngine,
  requireEngine,
  startEngine,
  stopEngine,
} from "./docker.ts";
import { makeNodeImage, nodeImage, POLICIES_IMAGE } from "./images.ts";
import { injects, installIstio, istioArgs, type Pulumi } from "./istio.ts";
import {
  connectPods,
  createNodes,
  deleteNodes,
  enforcePolicies,
  kindConfiguration,
  nodeNames,
  requireKind,
  type Shape,
} from "./kind.ts";
import { completePath, installPackages, missingPackages } from "./packages.ts";
import { checkHost, checkMemory } from "./preconditions.ts";
import { chooseSource, publicImages, pullBaseImage, SOURCES } from "./public.ts";
import {
  announceRegistry,
  packagedRegistry,
  registryRuns,
  removePushed,
  removeRegistry,
  startRegistry,
} from "./registry.ts";
import { within } from "../../common/wait.ts";

/** State of the cluster and its parts. */
interface ClusterStatus {
  /** All parts are ready. */
  readonly ready: boolean;
  readonly components: readonly { readonly name: string; readonly ready: boolean }[];
}

/** Entries of the cache. */
const CACHED = ["bin", "images", "engine"];
/** Work that one process at a time may do. */
const LOCK = { name: "dubbo-mesh-cluster", work: "starting or stopping the local cluster" };
const INJECTION_SECONDS = 90;
/** Space for images and containers in addition to the missing artifacts, GiB. */
const SPARE_GIB = 2;

const SHAPE_FILE = join(STATE_DIR, "shape.json");
/** File with the digest of the cluster's configuration; written when the cluster is complete. */
const MADE_FILE = join(STATE_DIR, "made");

const shape = z.object({ source: z.enum(SOURCES), image: z.string(), nodes: z.number() });

function knownShape(): Shape | undefined {
  return existsSync(SHAPE_FILE) ? shape.parse(JSON.parse(readFileSync(SHAPE_FILE, "utf8"))) : undefined;
}

function madeOf(wanted: Shape): string {
  const parts = [wanted, kindConfiguration(wanted, true), istioArgs(wanted.source)];
  return keyOf(...parts.map((part) => JSON.stringify(part)));
}

function isComplete(wanted: Shape): boolean {
  return existsSync(MADE_FILE) && readFileSync(MADE_FILE, "utf8") === madeOf(wanted);
}

/** Tells whether a node restarted after the cluster was complete. Its routes are then lost. */
async function areRestarted(): Promise<boolean> {
  const { stdout } = await docker(["inspect", "--format", "{{.State.StartedAt}}", ...(await nodeNames())]);
  const complete = statSync(MADE_FILE).mtimeMs;
  return stdout.split("\n").some((started) => Date.parse(started) > complete);
}

/**
 * Builds missing parts, starts the cluster, and waits until Istio injects sidecars. Does nothing if
 * the cluster is up.
 * @param pulumi finds Pulumi, which installs Istio
 * @param nodes number of nodes (default: unchanged, 1 for a new cluster)
 */
export async function clusterUp(pulumi: () => Promise<Pulumi>, nodes?: number): Promise<void> {
  await exclusively(LOCK, async () => {
    const start = performance.now();
    completePath();
    const known = knownShape();
    const kept = process.env["DUBBO_MESH_IMAGES"] ? undefined : known?.source;
    const source = kept ?? (await chooseSource());
    if (source === "packages")
      checkHost({ platform: process.platform, arch: process.arch, uid: process.getuid?.() });
    const image = source === "packages" ? nodeImage() : publicImages().node;
    const wanted = { source, image, nodes: nodes ?? known?.nodes ?? 1 };
    if (isComplete(wanted) && (await clusterStatus()).ready && !(await areRestarted())) {
      process.stderr.write(`  ok    the local cluster is up (${elapsed(start)})\n`);
      return;
    }
    await (source === "packages" ? preparePackages() : preparePublic());
    const started = performance.now();
    await startAll(wanted, pulumi).catch((error: unknown) => {
      throw error instanceof ExecaError || error instanceof CommandError ? explained(error) : error;
    });
    process.stderr.write(`  ok    the local cluster is ready (${elapsed(started)} from its start)\n`);
  });
}

/** Removes the cluster, and the engine if this project started it. Keeps all images. */
export async function clusterDown(): Promise<void> {
  await exclusively(LOCK, async () => {
    await step("stop the local cluster", async () => {
      completePath();
      // A restart of the machine ends the engine, but keeps its containers.
      if (knownShape()?.source === "packages" && !(await engineAnswers())) await startEngine();
      if (await engineAnswers()) await removeAll();
      if (isOwnEngine()) await stopEngine();
      rmSync(STATE_DIR, { recursive: true, force: true });
    });
  });
}

/**
 * Removes the cluster and its cache.
 * @returns size of the removed cache, bytes
 */
export async function clusterClean(): Promise<number> {
  await clusterDown();
  if (await engineAnswers()) await removePushed();
  const folders = CACHED.map((name) => join(CACHE_DIR, name)).filter((folder) => existsSync(folder));
  const { stdout } = await execa("du", ["-skc", ...folders], { reject: false });
  for (const folder of folders) rmSync(folder, { recursive: true });
  return Number.parseInt(stdout.trim().split("\n").at(-1) ?? "0", 10) * 1024;
}

/** Returns the state of each part of the cluster. */
export async function clusterStatus(): Promise<ClusterStatus> {
  completePath();
  const engine = await engineAnswers();
  const running = engine ? await nodeNames("running") : [];
  const nodes = Array.from({ length: knownShape()?.nodes ?? 1 }, (_, index) => ({
    name: `node ${index + 1}`,
    ready: running[index] !== undefined,
  }));
  const [registry, istio] = await Promise.all([engine && registryRuns(), running.length > 0 && injects()]);
  const components = [
    { name: "docker engine", ready: engine },
    ...nodes,
    { name: "registry", ready: registry },
    { name: "istio", ready: istio },
  ];
  return { ready: components.every(({ ready }) => ready), components };
}

async function preparePackages(): Promise<void> {
  const { missing, go } = missingArtifacts();
  checkMemory(totalmem());
  requireRoom(missing, "the local cluster", SPARE_GIB);
  if (go) await requireGo(join(BUILD_DIR, "kube"), "binaries of the cluster have to be built");
  await installPackages(missingPackages());
  for (const artifact of missing) await makeArtifact(artifact);
  if (!(await engineAnswers())) await step("start a docker engine", startEngine);
}

async function preparePublic(): Promise<void> {
  await requireEngine();
  await requireKind();
  const { stdout } = await docker(["info", "--format", "{{.MemTotal}}"]);
  checkMemory(Number(stdout));
  await pullBaseImage();
}

async function startAll(wanted: Shape, pulumi: () => Promise<Pulumi>): Promise<void> {
  const { source, image } = wanted;
  if (source === "packages") await makeNodeImage(image);
  await step("nodes", () => makeNodes(wanted));
  await step("registry", async () => {
    await startRegistry(source === "packages" ? packagedRegistry(image) : [publicImages().registry]);
    await announceRegistry();
  });
  if (source === "packages") {
    await connectPods();
    await enforcePolicies(readFileSync(POLICIES_FILE, "utf8"), POLICIES_IMAGE);
  }
  const found = await pulumi();
  await step("Istio", async () => {
    if (!(await injects())) await installIstio(found, source);
    await waitForInjection();
  });
  writeFileSync(MADE_FILE, madeOf(wanted));
}

async function waitForInjection(): Promise<void> {
  const injected = await within(INJECTION_SECONDS, async () => (await injects()) || undefined);
  if (injected === true) return;
  throw new UserError(
    `Istio injects no sidecar ${INJECTION_SECONDS} s after its installation`,
    `Look at its pods: kubectl --kubeconfig ${KUBECONFIG} --namespace istio-system get pods.`,
  );
}

/**
 * Starts the nodes. Replaces an incomplete cluster, and one with another configuration.
 * @throws UserError if another program created the cluster
 */
async function makeNodes(wanted: Shape): Promise<void> {
  const there = await nodeNames();
  if (there.length > 0 && knownShape() === undefined) {
    throw new UserError(
      `docker has a kind cluster ${NAME} that this project did not create`,
      `Remove it (kind delete cluster --name ${NAME}), or deploy to it: CONTEXT=kind-${NAME}.`,
    );
  }
  if (there.length === wanted.nodes && isComplete(wanted)) {
    await docker(["start", ...there]);
    return;
  }
  await Promise.all([there.length > 0 ? deleteNodes() : undefined, removeRegistry()]);
  rmSync(STATE_DIR, { recursive: true, force: true });
  mkdirSync(STATE_DIR, { recursive: true, mode: 0o700 });
  writeFileSync(SHAPE_FILE, JSON.stringify(wanted));
  await createNodes(wanted);
}

async function removeAll(): Promise<void> {
  await Promise.all([knownShape() === undefined ? undefined : deleteNodes(), removeRegistry()]);
  await docker(["network", "rm", NAME], { reject: false });
}
