/** The daemons of the cluster: how each is called, configured, and seen to be ready. */
import { Resolver } from "node:dns/promises";
import { mkdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { api } from "./api.ts";
import { artifactKey, binaryPath } from "./artifacts.ts";
import { kubeconfigOf, pki } from "./certificates.ts";
import {
  API_SERVICE_IP,
  BRIDGE,
  CACHE_DIR,
  NODE_IP,
  NODE_NAME,
  POD_CIDR,
  REGISTRY,
  RUN_DIR,
} from "./local.ts";
import { SERVICE_CIDR, STATE_DIR } from "./local.ts";
import { program } from "./packages.ts";
import type { Port } from "./preconditions.ts";
import { CGROUP, type Daemon, daemonPid } from "./processes.ts";

/** A daemon of the cluster. */
export interface Component extends Daemon {
  /** Its configuration files. */
  readonly files: Readonly<Record<string, string>>;
  readonly ports: readonly Port[];
  /** Whether it does its work. Does not throw. */
  readonly ready: () => Promise<boolean>;
}

/** The socket of containerd. */
export const CONTAINERD_SOCKET = `${RUN_DIR}/containerd/containerd.sock`;
/** The socket of the docker engine. */
export const DOCKER_SOCKET = `${RUN_DIR}/docker.sock`;
/** The image that holds a pod's namespaces. */
export const PAUSE_IMAGE = `${REGISTRY}/dubbo-mesh/pause:1`;
const CONFIG = `${STATE_DIR}/config`;
const LOOPBACK = "127.0.0.1";

/** A proxy that nobody listens at (port 9, discard): whoever fetches images cannot ask a registry elsewhere. */
const NO_WAY_OUT = {
  HTTP_PROXY: `http://${LOOPBACK}:9`,
  HTTPS_PROXY: `http://${LOOPBACK}:9`,
  NO_PROXY: "localhost,127.0.0.1",
};

interface Description {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  readonly files?: Readonly<Record<string, string>>;
  /** The cache key of its binary, where that is not a package's. */
  readonly binary?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly (readonly [address: string, port: number])[];
  readonly ready?: () => Promise<boolean>;
}

function component(what: Description): Component {
  const files = what.files ?? {};
  return {
    name: what.name,
    command: what.command,
    inputs: [what.binary ?? "", ...Object.values(files)],
    environment: what.environment,
    files,
    ports: (what.ports ?? []).map(([address, port]) => ({ component: what.name, address, port })),
    ready: async () => daemonPid(what) !== undefined && ((await what.ready?.()) ?? true),
  };
}

function flags(values: Readonly<Record<string, string>>): string[] {
  return Object.entries(values).map(([name, value]) => `--${name}=${value}`);
}

/** Whether a plain HTTP server answers 200. */
function answers(
  at: { host: string; port: number } | { socketPath: string },
  path: string,
): Promise<boolean> {
  return new Promise((resolve) => {
    const call = request({ ...at, path, timeout: 1_000, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    call.on("error", () => {
      resolve(false);
    });
    call.on("timeout", () => call.destroy());
    call.end();
  });
}

function accepts(at: { host: string; port: number } | { path: string }): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(at, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => {
      resolve(false);
    });
  });
}

function etcd(): Component {
  const client = `https://${LOOPBACK}:2379`;
  return component({
    name: "etcd",
    command: [
      program("etcd"),
      ...flags({
        "data-dir": `${STATE_DIR}/etcd`,
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": `http://${LOOPBACK}:2380`,
        "client-cert-auth": "true",
        "trusted-ca-file": pki("ca.crt"),
        "cert-file": pki("server.crt"),
        "key-file": pki("server.key"),
        "log-level": "warn",
      }),
      // A power cut may cost the datastore of this throw-away cluster, a kill does not; a third of the start's time is saved.
      "--unsafe-no-fsync",
    ],
    ports: [
      [LOOPBACK, 2379],
      [LOOPBACK, 2380],
    ],
    ready: () => accepts({ host: LOOPBACK, port: 2379 }),
  });
}

function kube(
  name: string,
  options: Readonly<Record<string, string>>,
  rest: Partial<Description> = {},
): Component {
  const command = [binaryPath("kube"), name, ...flags(options)] as const;
  return component({ name, command, binary: artifactKey("kube"), ...rest });
}

function apiServer(): Component {
  return kube(
    "kube-apiserver",
    {
      "advertise-address": NODE_IP,
      "bind-address": NODE_IP,
      "secure-port": "6443",
      "allow-privileged": "true",
      "authorization-mode": "Node,RBAC",
      "client-ca-file": pki("ca.crt"),
      "tls-cert-file": pki("server.crt"),
      "tls-private-key-file": pki("server.key"),
      "etcd-servers": `https://${LOOPBACK}:2379`,
      "etcd-cafile": pki("ca.crt"),
      "etcd-certfile": pki("admin.crt"),
      "etcd-keyfile": pki("admin.key"),
      "kubelet-client-certificate": pki("admin.crt"),
      "kubelet-client-key": pki("admin.key"),
      "kubelet-certificate-authority": pki("ca.crt"),
      // By the node's name it would ask a name server that does not know it.
      "kubelet-preferred-address-types": "InternalIP",
      "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
      "service-account-key-file": pki("service-accounts.pub"),
      "service-account-signing-key-file": pki("service-accounts.key"),
      "service-cluster-ip-range": SERVICE_CIDR,
      profiling: "false",
    },
    { ports: [[NODE_IP, 6443]], ready: async () => (await api("GET", "/readyz")).status === 200 },
  );
}

// The one of its kind, so there is nobody to elect a leader among; it serves nothing that anybody asks for.
const SINGLETON = { "leader-elect": "false", "secure-port": "0", profiling: "false" };

function controllerManager(): Component {
  const config = kubeconfigOf("kube-controller-manager");
  return kube("kube-controller-manager", {
    ...SINGLETON,
    kubeconfig: config,
    "root-ca-file": pki("ca.crt"),
    "service-account-private-key-file": pki("service-accounts.key"),
    "kube-api-qps": "200",
    "kube-api-burst": "400",
  });
}

function scheduler(): Component {
  return kube("kube-scheduler", { ...SINGLETON, kubeconfig: kubeconfigOf("kube-scheduler") });
}

function kubeletConfiguration(): string {
  return JSON.stringify({
    apiVersion: "kubelet.config.k8s.io/v1beta1",
    kind: "KubeletConfiguration",
    address: NODE_IP,
    authentication: { x509: { clientCAFile: pki("ca.crt") } },
    tlsCertFile: pki("kubelet.crt"),
    tlsPrivateKeyFile: pki("kubelet.key"),
    cgroupDriver: "cgroupfs",
    cgroupRoot: `/${CGROUP}`,
    containerRuntimeEndpoint: `unix://${CONTAINERD_SOCKET}`,
    clusterDNS: [NODE_IP],
    clusterDomain: "cluster.local",
    resolvConf: `${CONFIG}/resolv.conf`,
    failSwapOn: false,
    // Images are the cache: they stay, however full the disk is.
    imageGCHighThresholdPercent: 100,
    evictionHard: { "memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%" },
    serializeImagePulls: false,
    podLogsDir: `${STATE_DIR}/pod-logs`,
    volumePluginDir: `${STATE_DIR}/kubelet/plugins-exec`,
    kubeAPIQPS: 200,
    kubeAPIBurst: 400,
    nodeLeaseDurationSeconds: 40,
  });
}

function kubelet(): Component {
  const file = `${CONFIG}/kubelet.json`;
  return kube(
    "kubelet",
    {
      config: file,
      kubeconfig: kubeconfigOf("kubelet"),
      "root-dir": `${STATE_DIR}/kubelet`,
      "hostname-override": NODE_NAME,
      "node-ip": NODE_IP,
    },
    {
      files: { [file]: kubeletConfiguration(), [`${CONFIG}/resolv.conf`]: `nameserver ${NODE_IP}\n` },
      ports: [
        [NODE_IP, 10250],
        [LOOPBACK, 10248],
      ],
      ready: () => answers({ host: LOOPBACK, port: 10248 }, "/healthz"),
    },
  );
}

function kubeProxy(): Component {
  const file = `${CONFIG}/kube-proxy.json`;
  const configuration = {
    apiVersion: "kubeproxy.config.k8s.io/v1alpha1",
    kind: "KubeProxyConfiguration",
    clientConnection: { kubeconfig: kubeconfigOf("kube-proxy"), qps: 100, burst: 200 },
    mode: "iptables",
    hostnameOverride: NODE_NAME,
    clusterCIDR: POD_CIDR,
    healthzBindAddress: `${LOOPBACK}:10256`,
    metricsBindAddress: "",
    // The answer of a pod on the same bridge would pass by the address translation: with the node as the sender it comes back
    // here, also where the kernel has no bridge netfilter.
    iptables: { masqueradeAll: true, localhostNodePorts: false, minSyncPeriod: "100ms" },
    // Zero: leave the kernel's settings alone.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: "0s", tcpCloseWaitTimeout: "0s" },
  };
  return kube(
    "kube-proxy",
    { config: file },
    {
      files: { [file]: JSON.stringify(configuration) },
      ports: [[LOOPBACK, 10256]],
      ready: () => answers({ host: LOOPBACK, port: 10256 }, "/healthz"),
    },
  );
}

function coredns(): Component {
  const file = `${CONFIG}/Corefile`;
  // No forward: the cluster knows its own names only, every other one does not exist.
  const corefile = `
cluster.local in-addr.arpa {
  bind ${NODE_IP}
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig ${kubeconfigOf("coredns")}
  }
}
. {
  bind ${NODE_IP}
  errors
  template ANY ANY {
    rcode NXDOMAIN
  }
}
`;
  return component({
    name: "coredns",
    command: [binaryPath("coredns"), "-conf", file],
    binary: artifactKey("coredns"),
    files: { [file]: corefile },
    ports: [[NODE_IP, 53]],
    ready: resolvesTheApi,
  });
}

async function resolvesTheApi(): Promise<boolean> {
  const resolver = new Resolver({ timeout: 1_000, tries: 1 });
  resolver.setServers([NODE_IP]);
  try {
    return (await resolver.resolve4("kubernetes.default.svc.cluster.local")).includes(API_SERVICE_IP);
  } catch {
    return false;
  }
}

function containerdConfiguration(): string {
  const cri = 'plugins."io.containerd.grpc.v1.cri"';
  return `version = 2
root = "${CACHE_DIR}/containerd"
state = "${RUN_DIR}/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "${CONTAINERD_SOCKET}"
[${cri}]
sandbox_image = "${PAUSE_IMAGE}"
netns_mounts_under_state_dir = true
# Else containers do not start where root lacks CAP_SYS_RESOURCE.
restrict_oom_score_adj = true
[${cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[${cri}.containerd.runtimes.runc.options]
Root = "${RUN_DIR}/runc"
[${cri}.cni]
bin_dir = "/usr/lib/cni"
conf_dir = "${CONFIG}/cni"
[${cri}.registry]
config_path = "${CONFIG}/registries"
`;
}

function cniConfiguration(): string {
  return JSON.stringify({
    cniVersion: "0.4.0",
    name: "dubbo-mesh",
    plugins: [
      {
        type: "bridge",
        bridge: BRIDGE,
        hairpinMode: true,
        ipam: {
          type: "host-local",
          dataDir: `${RUN_DIR}/addresses`,
          ranges: [[{ subnet: POD_CIDR, gateway: NODE_IP }]],
          routes: [{ dst: "0.0.0.0/0" }],
        },
      },
    ],
  });
}

function containerd(): Component {
  const file = `${CONFIG}/containerd.toml`;
  return component({
    name: "containerd",
    environment: NO_WAY_OUT,
    command: [program("containerd"), "--config", file],
    files: {
      [file]: containerdConfiguration(),
      [`${CONFIG}/cni/10-dubbo-mesh.conflist`]: cniConfiguration(),
      [`${CONFIG}/registries/${REGISTRY}/hosts.toml`]: `[host."http://${REGISTRY}"]\n`,
    },
    ready: () => accepts({ path: CONTAINERD_SOCKET }),
  });
}

function dockerd(): Component {
  const file = `${CONFIG}/dockerd.json`;
  return component({
    name: "dockerd",
    environment: NO_WAY_OUT,
    command: [
      program("dockerd"),
      ...flags({
        "config-file": file,
        host: `unix://${DOCKER_SOCKET}`,
        pidfile: `${RUN_DIR}/dockerd.pid`,
        "data-root": `${CACHE_DIR}/docker`,
        "exec-root": `${RUN_DIR}/docker`,
        containerd: CONTAINERD_SOCKET,
        "cgroup-parent": `/${CGROUP}/docker`,
        // It builds images only; its containers have no network.
        bridge: "none",
        iptables: "false",
        "ip-forward": "false",
        "ip-masq": "false",
        "log-level": "warn",
      }),
    ],
    files: { [file]: "{}" },
    ready: () => answers({ socketPath: DOCKER_SOCKET }, "/_ping"),
  });
}

function registry(): Component {
  const file = `${CONFIG}/registry.json`;
  const configuration = {
    version: "0.1",
    log: { level: "warn", accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: `${CACHE_DIR}/registry` }, delete: { enabled: true } },
    http: { addr: `${LOOPBACK}:5000` },
  };
  return component({
    name: "registry",
    command: [program("docker-registry"), "serve", file],
    files: { [file]: JSON.stringify(configuration) },
    ports: [[LOOPBACK, 5000]],
    ready: () => answers({ host: LOOPBACK, port: 5000 }, "/v2/"),
  });
}

/** All daemons, by name. */
export function components() {
  return {
    containerd: containerd(),
    etcd: etcd(),
    registry: registry(),
    dockerd: dockerd(),
    apiServer: apiServer(),
    controllerManager: controllerManager(),
    scheduler: scheduler(),
    kubelet: kubelet(),
    kubeProxy: kubeProxy(),
    coredns: coredns(),
  };
}

/** Writes a component's configuration files. */
export function writeFiles(of: Component): void {
  for (const [file, text] of Object.entries(of.files)) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}
