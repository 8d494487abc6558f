/**
 * The cluster's network: one bridge that pods are attached to and that services' addresses are routed to.
 *
 * Nothing leaves the machine: the chain below refuses whatever a pod sends elsewhere than to the bridge or to this host (at once, so that
 * nobody waits for a timeout), no masquerading is set up for it, services' addresses have no way out but the bridge, DNS has no
 * upstream server, and who fetches images is given a proxy that nobody listens at (daemons.ts). Forwarding is switched on for the bridge alone.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { execa } from "execa";
import { BRIDGE, NODE_IP, POD_CIDR, SERVICE_CIDR, STATE_DIR } from "./local.ts";

const CHAIN = "DUBBO-MESH";
const INPUT_CHAIN = "DUBBO-MESH-IN";

// What still bears a service's address when it is forwarded has no service, or one without endpoints.
const RULES = `*filter
:${CHAIN} - [0:0]
:${INPUT_CHAIN} - [0:0]
-A ${CHAIN} -i ${BRIDGE} -d ${SERVICE_CIDR} -p tcp -j REJECT --reject-with tcp-reset
-A ${CHAIN} -i ${BRIDGE} -d ${SERVICE_CIDR} -j REJECT
-A ${CHAIN} -i ${BRIDGE} -o ${BRIDGE} -j ACCEPT
-A ${CHAIN} -i ${BRIDGE} -p tcp -j REJECT --reject-with tcp-reset
-A ${CHAIN} -i ${BRIDGE} -j REJECT
-A ${CHAIN} -o ${BRIDGE} -j REJECT
-A ${INPUT_CHAIN} -i ${BRIDGE} -s ${POD_CIDR} -j ACCEPT
COMMIT
`;

/** Kernel settings that kubelet and kube-proxy change for the whole machine. */
const SYSCTLS = [
  "vm/overcommit_memory",
  "vm/panic_on_oom",
  "kernel/panic",
  "kernel/panic_on_oops",
  "kernel/keys/root_maxkeys",
  "kernel/keys/root_maxbytes",
  "net/ipv4/ip_forward",
  "net/ipv4/conf/all/route_localnet",
  "net/bridge/bridge-nf-call-iptables",
];
const SYSCTL_FILE = `${STATE_DIR}/sysctls.json`;

async function ip(...args: string[]): Promise<void> {
  await execa("ip", args);
}

function sysctl(name: string, value: string): void {
  const file = `/proc/sys/${name}`;
  if (existsSync(file) && readFileSync(file, "utf8").trim() !== value) writeFileSync(file, value);
}

/** Sets up the bridge, its routes and its rules as far as they are missing. Answers whether the bridge had to be made. */
export async function makeNetwork(): Promise<boolean> {
  saveSysctls();
  const made = !existsSync(`/sys/class/net/${BRIDGE}`);
  // A fixed hardware address: a bridge takes on that of a port otherwise, and changes it with its ports.
  if (made) await ip("link", "add", BRIDGE, "address", "02:00:0a:d3:00:01", "type", "bridge");
  sysctl(`net/ipv6/conf/${BRIDGE}/disable_ipv6`, "1");
  sysctl(`net/ipv4/conf/${BRIDGE}/forwarding`, "1");
  await ip("address", "replace", `${NODE_IP}/${POD_CIDR.split("/")[1] ?? ""}`, "dev", BRIDGE);
  await ip("link", "set", BRIDGE, "up");
  await ip("route", "replace", SERVICE_CIDR, "dev", BRIDGE, "src", NODE_IP);
  await refuseTheOutside();
  return made;
}

/**
 * Commands for `iptables-restore` that put the jump to `target` first in `chain`, where it may be already.
 * @param printed what `iptables -S` prints of the chain
 */
export function jumpFirst(chain: string, target: string, printed: string): string[] {
  const jump = `${chain} -j ${target}`;
  const old = printed.split("\n").filter((rule) => rule === `-A ${jump}`);
  return [...old.map(() => `-D ${jump}`), `-I ${chain} 1 -j ${target}`];
}

/** Rules of a chain, as `iptables -S` prints them. */
async function rulesOf(chain: string): Promise<string> {
  return (await execa("iptables", ["-w", "-S", chain])).stdout;
}

/** Whether kube-proxy has put its own jumps before all that it found, as it does once. Source: its iptables/proxier.go, iptablesJumpChains. */
export async function kubeProxyJumps(): Promise<boolean> {
  return (await rulesOf("FORWARD")).includes("-j KUBE-PROXY-FIREWALL");
}

/** Puts the cluster's rules first, in one transaction: what comes before them could let out what they refuse. */
export async function refuseTheOutside(): Promise<void> {
  const jumps = [
    ...jumpFirst("FORWARD", CHAIN, await rulesOf("FORWARD")),
    ...jumpFirst("INPUT", INPUT_CHAIN, await rulesOf("INPUT")),
  ];
  const input = RULES.replace("COMMIT\n", `${jumps.join("\n")}\nCOMMIT\n`);
  await execa("iptables-restore", ["-w", "--noflush"], { input });
}

function saveSysctls(): void {
  if (existsSync(SYSCTL_FILE)) return;
  const files = SYSCTLS.filter((name) => existsSync(`/proc/sys/${name}`));
  const values = Object.fromEntries(
    files.map((name) => [name, readFileSync(`/proc/sys/${name}`, "utf8").trim()]),
  );
  writeFileSync(SYSCTL_FILE, JSON.stringify(values));
}

function restoreSysctls(): void {
  if (!existsSync(SYSCTL_FILE)) return;
  const values = JSON.parse(readFileSync(SYSCTL_FILE, "utf8")) as Record<string, string>;
  for (const [name, value] of Object.entries(values)) sysctl(name, value);
}

/**
 * The input of `iptables-restore --noflush` that removes the rules and chains of the cluster, kube-proxy and kubelet from what
 * `iptables-save` printed, and leaves all others alone. Empty when there are none.
 */
export function removalOf(saved: string): string {
  const ours = (chain: string): boolean => /^(KUBE-|DUBBO-MESH)/.test(chain);
  const tables = saved.split(/^(?=\*)/m).filter((table) => table.startsWith("*"));
  const removals = tables.map((table) => {
    const lines = table.split("\n");
    const chains = lines
      .filter((line) => line.startsWith(":"))
      .map((line) => line.slice(1).split(" ")[0] ?? "");
    const mine = chains.filter(ours);
    const jumps = lines.filter((line) => {
      const [, chain = "", target = ""] = /^-A (\S+) .*-[jg] (\S+)/.exec(line) ?? [];
      return !ours(chain) && ours(target);
    });
    if (mine.length === 0) return "";
    const commands = [
      ...mine.map((chain) => `:${chain} - [0:0]`),
      ...jumps.map((line) => line.replace(/^-A/, "-D")),
      ...mine.map((chain) => `-X ${chain}`),
    ];
    return `${lines[0] ?? ""}\n${commands.join("\n")}\nCOMMIT\n`;
  });
  return removals.join("");
}

/** Removes bridge, pods' devices, routes and rules, and gives the kernel its settings back. */
export async function removeNetwork(): Promise<void> {
  for (const family of ["iptables", "ip6tables"]) {
    const { stdout, failed } = await execa(`${family}-save`, { reject: false });
    const input = failed ? "" : removalOf(stdout);
    if (input !== "") await execa(`${family}-restore`, ["-w", "--noflush"], { input });
  }
  await removePorts();
  // Its routes go with it.
  if (existsSync(`/sys/class/net/${BRIDGE}`)) await ip("link", "delete", BRIDGE);
  restoreSysctls();
}

async function removePorts(): Promise<void> {
  if (!existsSync(`/sys/class/net/${BRIDGE}`)) return;
  const { stdout } = await execa("ip", ["-j", "link", "show", "master", BRIDGE]);
  const ports = JSON.parse(stdout || "[]") as { ifname?: string }[];
  for (const { ifname } of ports) {
    // A port whose pod has just ended goes by itself.
    if (ifname !== undefined) await execa("ip", ["link", "delete", ifname], { reject: false });
  }
}
