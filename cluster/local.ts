/**
 * What a program needs to know to use the local cluster: constants only, so that importing this file starts nothing.
 */
import { homedir } from "node:os";
import { join } from "node:path";

/** Folder of root's cache, which the local cluster uses, or of the user's own. */
function cacheFolder(): string {
  return process.getuid?.() === 0 ? "/var/cache/dubbo-mesh" : join(homedir(), ".cache/dubbo-mesh");
}

/** Binaries, images, registry: kept by `cluster down`. */
export const CACHE_DIR = process.env["DUBBO_MESH_CACHE"] ?? cacheFolder();
/** Certificates, configuration, the datastore, logs: gone after `cluster down`. */
export const STATE_DIR = "/var/lib/dubbo-mesh";
/** Sockets and what containers have mounted. */
export const RUN_DIR = "/run/dubbo-mesh";

/** The kubeconfig of the cluster's administrator, mode 0600; no other kubeconfig is touched. */
export const KUBECONFIG = `${STATE_DIR}/kubeconfig`;
/** The only context in KUBECONFIG. */
export const CONTEXT = "dubbo-mesh";
/** kubectl, as a command and its first argument. */
export const KUBECTL = [`${CACHE_DIR}/bin/kube`, "kubectl"] as const;

/** The docker engine of the cluster: builds images without a network, pushes to REGISTRY. */
export const DOCKER_HOST = `unix://${RUN_DIR}/docker.sock`;
/** The image registry, on the loopback device only. */
export const REGISTRY = "localhost:5000";
/** What images of applications are built on: Debian and Node.js, user `node` (1000). */
export const BASE_IMAGE = `${REGISTRY}/dubbo-mesh/node:22`;

/** The name of the only node. */
export const NODE_NAME = "dubbo-mesh";
/** The bridge that pods are attached to. */
export const BRIDGE = "dubbo-mesh0";
/** Address of the node on BRIDGE: the API server, DNS and the pods' gateway. */
export const NODE_IP = "10.211.0.1";
/** Addresses of pods. */
export const POD_CIDR = "10.211.0.0/24";
/** Addresses of services, routed to BRIDGE. */
export const SERVICE_CIDR = "10.212.0.0/16";
/** Address of the service `kubernetes.default`. */
export const API_SERVICE_IP = "10.212.0.1";
