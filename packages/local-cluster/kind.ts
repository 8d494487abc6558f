/** Nodes of the cluster: kind creates and removes them. */
import { join } from "node:path";
import { execa } from "execa";
import { isMade, makeArtifact } from "../../common/artifacts/artifact.ts";
import { requireGo } from "../../common/artifacts/go.ts";
import { UserError } from "../../common/errors.ts";
import { KUBECONFIG, NAME } from "../../common/local-cluster.ts";
import { toYaml } from "../../common/yaml.ts";
import { BUILD_DIR, kindArtifact } from "./artifacts.ts";
import { docker, dockerEnvironment, ENGINE_ADDRESS, isOwnEngine } from "./docker.ts";
import type { Source } from "./public.ts";
import { KIND } from "./versions.ts";
import { within } from "../../common/wait.ts";

/** Shape of a cluster. */
export interface Shape {
  readonly source: Source;
  /** Image of the nodes. */
  readonly image: string;
  /** Number of nodes, 1 or 2. */
  readonly nodes: number;
}

/**
 * Builds kind, unless it is built or the one on PATH supports the node image.
 * @throws UserError if kind and Go are missing or too old
 */
export async function requireKind(): Promise<void> {
  const built = kindArtifact();
  if (isMade(built)) return;
  const { stdout, failed } = await execa("kind", ["version"], { reject: false, stdin: "ignore" });
  const [, minor = "0"] = /v0\.(\d+)\./.exec(failed ? "" : stdout) ?? [];
  if (Number(minor) >= KIND_MINOR) return;
  const found = failed ? "is not installed" : `on PATH is older: ${stdout}`;
  await requireGo(join(BUILD_DIR, "kind"), `kind ${KIND} or newer ${found}`);
  await makeArtifact(built);
}

/** Runs kind with the cluster's engine. Prefers the built kind over the one on PATH. */
async function kind(args: readonly string[], input = ""): Promise<void> {
  const built = kindArtifact();
  const options = { env: dockerEnvironment(), input };
  await execa(isMade(built) ? built.file : "kind", [...args, "--kubeconfig", KUBECONFIG, "--quiet"], options);
}

/** Runs kubectl in a node, as the cluster's administrator. This machine may have no kubectl. */
export async function clusterKubectl(args: readonly string[], input = ""): Promise<string> {
  const inside = ["exec", "--interactive", `${NAME}-control-plane`, "kubectl", ...args];
  return (await docker(inside, { input })).stdout;
}

/** Limit of the time in which a node restarts, seconds. */
const START_SECONDS = 120;

/** Number of the queue in the manifest of kube-network-policies. */
const POLICIES_QUEUE = 98;

const [, KIND_MINOR = 0] = KIND.split(".").map(Number);
const ZONES = ["a", "b"];

/** Returns kind's configuration. Source: https://kind.sigs.k8s.io/docs/user/configuration/ */
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
      // Only kind's published images contain kindnetd.
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
      // With several nodes, a control plane runs no pods unless its taint is removed.
      ...(nodes > 1 ? [toYaml({ kind: "InitConfiguration", nodeRegistration: { taints: [] } })] : []),
    ],
  };
}

/** Returns the names of the node containers; none without a cluster. */
export async function nodeNames(which: "all" | "running" = "all"): Promise<string[]> {
  const filter = ["--filter", `label=io.x-k8s.kind.cluster=${NAME}`];
  const all = which === "all" ? ["--all"] : [];
  const { stdout } = await docker(["ps", ...all, ...filter, "--format", "{{.Names}}"]);
  return stdout.split("\n").filter(Boolean).sort();
}

/** Creates the nodes. */
export async function createNodes(shape: Shape): Promise<void> {
  await kind(["create", "cluster", "--config", "-"], toYaml(kindConfiguration(shape, isOwnEngine())));
}

/** Removes the nodes, if there are any. */
export async function deleteNodes(): Promise<void> {
  await kind(["delete", "cluster", "--name", NAME]);
}

/**
 * Returns the CNI configuration of a node, for Debian's plug-ins.
 * @param range addresses of the node's pods
 */
export function podNetwork(range: string): object {
  const routes = [{ dst: "0.0.0.0/0" }];
  const ipam = { type: "host-local", dataDir: "/run/cni-ipam-state", routes, ranges: [[{ subnet: range }]] };
  return {
    cniVersion: "0.4.0",
    name: NAME,
    // Masquerading is off: other nodes have a route to each pod's address.
    plugins: [
      { type: "ptp", ipMasq: false, ipam },
      { type: "portmap", capabilities: { portMappings: true } },
    ],
  };
}

const NODE_ROW =
  '{.metadata.name} {.status.addresses[?(@.type=="InternalIP")].address} {.spec.podCIDR}{"\\n"}';

/**
 * Returns name, address and range of pod addresses of each node; undefined until the API server
 * answers and each node has a range.
 */
async function nodeRanges(): Promise<Record<"name" | "address" | "range", string>[] | undefined> {
  const query = `jsonpath={range .items[*]}${NODE_ROW}{end}`;
  const answer = await clusterKubectl(["get", "nodes", "--output", query]).catch(() => "");
  const rows = answer.split("\n").filter((row) => row !== "");
  const nodes = rows.map((row) => {
    const [name = "", address = "", range = ""] = row.split(" ");
    return { name, address, range };
  });
  return nodes.length > 0 && nodes.every(({ range }) => range !== "") ? nodes : undefined;
}

/**
 * Configures each node's pod network and its routes to the other nodes' pods.
 * @throws UserError if the API server does not answer
 */
export async function connectPods(): Promise<void> {
  const nodes = await within(START_SECONDS, nodeRanges);
  if (nodes === undefined)
    throw new UserError(
      `the local cluster's API server does not answer within ${START_SECONDS} s`,
      `Look at it (docker exec ${NAME}-control-plane journalctl), or create the cluster again: make cluster-down, make up.`,
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
 * Returns the iptables rule that sends the first packet of each connection to
 * kube-network-policies. Connections of root programs on the node are exempt. The rules of
 * kube-network-policies itself need nftables' queue, which some kernels lack.
 */
function rule(command: "-A" | "-C"): string {
  const first = "-m conntrack --ctstate NEW -m owner ! --uid-owner 0";
  return `-w -t mangle ${command} POSTROUTING ${first} -j NFQUEUE --queue-num ${POLICIES_QUEUE} --queue-bypass`;
}

/**
 * Enforces network policies.
 * @param manifest manifest of kube-network-policies
 */
export async function enforcePolicies(manifest: string, image: string): Promise<void> {
  await clusterKubectl(["apply", "--filename", "-"], manifest.replace(/image: .*/, `image: ${image}`));
}
