/** The cluster's nodes, by kind: made, started again, connected, removed. */
import { join } from "node:path";
import { execa, ExecaError } from "execa";
import { messageOf, UserError } from "../../common/errors.ts";
import { type Artifact, isMade, makeArtifact } from "../../common/artifacts/artifact.ts";
import { goArtifact, requireGo } from "../../common/artifacts/go.ts";
import { toYaml } from "../../common/yaml.ts";
import { BUILD_DIR, GO_BINARIES } from "./artifacts.ts";
import { docker, dockerEnvironment, ENGINE_ADDRESS, isOwnEngine } from "./docker.ts";
import { KUBECONFIG, NAME } from "../../common/local-cluster.ts";
import type { Source } from "./source.ts";
import { KIND } from "./versions.ts";
import { within } from "./wait.ts";

/** Shape of a cluster. */
export interface Shape {
  readonly source: Source;
  /** Image of the nodes. */
  readonly image: string;
  /** Number of nodes, 1 or 2. */
  readonly nodes: number;
}

function builtKind(): Artifact {
  const [artifact] = GO_BINARIES.filter(({ name }) => name === "kind").map(goArtifact);
  if (artifact === undefined) throw new Error("kind is not among the programs that Go builds");
  return artifact;
}

/** kind as it is called: the one that was built, else the one on PATH. */
function kindProgram(): string {
  const built = builtKind();
  return isMade(built) ? built.file : "kind";
}

/**
 * Makes sure of a kind that knows the nodes' image: the one on PATH, where it is not older, else one that Go builds.
 * @throws UserError where there is neither
 */
export async function requireKind(): Promise<void> {
  const built = builtKind();
  if (isMade(built)) return;
  const { stdout, failed } = await execa("kind", ["version"], { reject: false, stdin: "ignore" });
  const [, minor = "0"] = /v0\.(\d+)\./.exec(failed ? "" : stdout) ?? [];
  if (Number(minor) >= KIND_MINOR) return;
  const found = failed ? "is not installed" : `on PATH is older: ${stdout}`;
  await requireGo(join(BUILD_DIR, "kind"), `kind ${KIND} or newer ${found}`);
  await makeArtifact(built);
}

async function kind(...args: readonly string[]): Promise<string> {
  const { stdout } = await execa(kindProgram(), args, { env: dockerEnvironment(), stdin: "ignore" });
  return stdout;
}

/** Runs a node's own kubectl, as the cluster's administrator: this machine may have none. */
export async function clusterKubectl(args: readonly string[], input?: string): Promise<string> {
  const inside = ["exec", "--interactive", `${NAME}-control-plane`, "kubectl", ...args];
  const { stdout } = await docker(inside, input === undefined ? {} : { input });
  return stdout;
}

/** Time that a node takes to start again, at most. */
const START_SECONDS = 120;

/** Number of the queue that kube-network-policies answers: the one in its manifest. */
const POLICIES_QUEUE = 98;

const [, KIND_MINOR = 0] = KIND.split(".").map(Number);
const ZONES = ["a", "b"];

/** The cluster as kind's configuration has it. Source: https://kind.sigs.k8s.io/docs/user/configuration/ */
export function kindConfiguration({ source, image, nodes }: Shape, ownEngine: boolean): object {
  const made = Array.from({ length: nodes }, (_, index) => ({
    role: index === 0 ? "control-plane" : "worker",
    image,
    labels: { "topology.kubernetes.io/region": NAME, "topology.kubernetes.io/zone": ZONES[index] },
  }));
  return {
    kind: "Cluster",
    apiVersion: "kind.x-k8s.io/v1alpha4",
    name: NAME,
    networking: {
      // kindnetd, which kind's own images hold, is in no package registry.
      ...(source === "packages" && { disableDefaultCNI: true }),
      ...(ownEngine && { apiServerAddress: ENGINE_ADDRESS, apiServerPort: 6443 }),
    },
    nodes: made,
    kubeadmConfigPatches: [
      toYaml({
        kind: "KubeletConfiguration",
        serializeImagePulls: false,
        ...(source === "packages" && { failCgroupV1: false }),
      }),
    ],
  };
}

/** The cluster's node containers, all or those that run; none where it does not exist. */
export async function nodeNames(which: "all" | "running" = "all"): Promise<string[]> {
  const filter = ["--filter", `label=io.x-k8s.kind.cluster=${NAME}`];
  const all = which === "all" ? ["--all"] : [];
  const { stdout } = await docker(["ps", ...all, ...filter, "--format", "{{.Names}}"]);
  return stdout.split("\n").filter(Boolean).sort();
}

/** Makes the nodes. @throws UserError where the engine cannot run them */
export async function createNodes(shape: Shape): Promise<void> {
  const configuration = toYaml(kindConfiguration(shape, isOwnEngine()));
  const args = ["create", "cluster", "--kubeconfig", KUBECONFIG, "--config", "-", "--quiet"];
  try {
    await execa(kindProgram(), args, { env: dockerEnvironment(), input: configuration });
  } catch (error) {
    throw explained(error);
  }
}

const REASONS: readonly (readonly [RegExp, string, string])[] = [
  [
    /privileged mode is incompatible|operation not permitted|unable to apply caps/i,
    "the docker engine may not run privileged containers, which kind's nodes are",
    "Use an engine with root's rights (https://kind.sigs.k8s.io/docs/user/known-issues/), or a cluster of your own: CONTEXT=NAME.",
  ],
  [
    /no space left on device/i,
    "the disk of the docker engine is full",
    "Free some room (docker system df), and run the command again.",
  ],
  [
    /port is already allocated|address already in use/i,
    "a port that the cluster needs is taken",
    "Stop the program that holds it, and run the command again.",
  ],
];

function explained(error: unknown): unknown {
  if (!(error instanceof ExecaError)) return error;
  const text = `${String(error.stderr)}\n${messageOf(error)}`;
  const known = REASONS.find(([pattern]) => pattern.test(text));
  const reason = text.split("\n").find((line) => /error/i.test(line)) ?? "";
  return known === undefined
    ? new UserError(
        `kind does not make the cluster: ${String(error.stderr).trim()}`,
        "Mend what it names, and run the command again; `make cluster-down` removes what is half made.",
        { cause: error },
      )
    : new UserError(`${known[1]}: ${reason.trim()}`, known[2], { cause: error });
}

/** Starts nodes that a restart of the engine or of the machine has left stopped. */
export async function startNodes(nodes: readonly string[]): Promise<void> {
  await docker(["start", ...nodes]);
}

/** Removes the nodes; without them it does nothing. */
export async function deleteNodes(): Promise<void> {
  await kind("delete", "cluster", "--name", NAME, "--kubeconfig", KUBECONFIG, "--quiet");
}

/** One node as the API server knows it. */
interface NodeRange {
  readonly name: string;
  /** Its address in docker's network. */
  readonly address: string;
  /** Addresses of its pods. */
  readonly range: string;
}

/** The pods' network of a node: the plug-ins that Debian has. @param range addresses of its pods */
export function podNetwork(range: string): object {
  const routes = [{ dst: "0.0.0.0/0" }];
  const ipam = { type: "host-local", dataDir: "/run/cni-ipam-state", routes, ranges: [[{ subnet: range }]] };
  return {
    cniVersion: "0.4.0",
    name: NAME,
    // What leaves a node keeps its pod's address: the other node has a route to it, and nothing else is reached.
    plugins: [
      { type: "ptp", ipMasq: false, ipam },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  };
}

/** The nodes, once the API server answers and the controllers have given each its pods' addresses. */
async function ranges(): Promise<NodeRange[] | undefined> {
  const answer = await clusterKubectl(["get", "nodes", "--output", "json"]).catch(() => undefined);
  if (answer === undefined) return undefined;
  const list = JSON.parse(answer) as {
    items: {
      metadata: { name: string };
      spec: { podCIDR?: string };
      status: { addresses: { type: string; address: string }[] };
    }[];
  };
  const nodes = list.items.map(({ metadata, spec, status }) => ({
    name: metadata.name,
    address: status.addresses.find(({ type }) => type === "InternalIP")?.address ?? "",
    range: spec.podCIDR ?? "",
  }));
  return nodes.every(({ range }) => range !== "") ? nodes : undefined;
}

/** Gives each node its pods' network, and a route to those of the other nodes; a node that was started again has lost them. */
export async function connectPods(): Promise<void> {
  const nodes = await within(START_SECONDS, ranges);
  if (nodes === undefined)
    throw new UserError(
      `the local cluster's API server does not answer within ${START_SECONDS} s`,
      `Look at it (docker exec ${NAME}-control-plane journalctl), or make the cluster anew: make cluster-down, make up.`,
    );
  for (const { name, range } of nodes) {
    const file = "/etc/cni/net.d/10-pods.conflist";
    const input = JSON.stringify(podNetwork(range));
    await docker(["exec", "--interactive", name, "cp", "/dev/stdin", file], { input });
    for (const other of nodes.filter((each) => each.name !== name))
      await docker(["exec", name, "ip", "route", "replace", other.range, "via", other.address]);
    await docker(["exec", name, "sh", "-c", `iptables ${rule("-C")} 2>/dev/null || iptables ${rule("-A")}`]);
  }
}

/**
 * The rule that asks kube-network-policies about the first packet of each connection that no program of root's on the node has begun. Its own
 * rules need nftables' queue, which not every kernel has; without it they are not made.
 */
function rule(command: "-A" | "-C"): string {
  const first = "-m conntrack --ctstate NEW -m owner ! --uid-owner 0";
  return `-w -t mangle ${command} POSTROUTING ${first} -j NFQUEUE --queue-num ${POLICIES_QUEUE} --queue-bypass`;
}

/** Makes network policies count. @param manifest of kube-network-policies, of its module */
export async function enforcePolicies(manifest: string, image: string): Promise<void> {
  const own = manifest.replace(/image: .*/, `image: ${image}`);
  await clusterKubectl(["apply", "--filename", "-"], own);
}

/** Lets pods run on every node: a control plane beside other nodes takes none by itself. */
export async function useAllNodes(): Promise<void> {
  await clusterKubectl(["taint", "nodes", "--all", "node-role.kubernetes.io/control-plane-"]).catch(
    // None has it.
    () => undefined,
  );
}
