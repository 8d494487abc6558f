/**
 * What a program needs to know to use the local cluster: constants only, so that importing this file starts nothing.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { CACHE_DIR } from "./artifacts/cache.ts";

/** What belongs to the running cluster: its kubeconfig, the state of its Istio. Gone after `cluster down`. */
export const STATE_DIR = join(CACHE_DIR, "cluster");

/** Name of the cluster for kind, and of its network for docker. */
export const NAME = "dubbo-mesh";
/** The kubeconfig of the cluster's administrator; no other kubeconfig is touched. */
export const KUBECONFIG = join(STATE_DIR, "kubeconfig");
/** The only context in KUBECONFIG. */
export const CONTEXT = `kind-${NAME}`;

/** kubectl, as a command and its first arguments: the one that was built with the cluster, else the one on PATH. */
export function localKubectl(): string[] {
  const kube = join(CACHE_DIR, "bin", "kube");
  return existsSync(kube) ? [kube, "kubectl"] : ["kubectl"];
}

/** Sockets and state of the docker engine that is started where none runs. */
export const ENGINE_DIR = "/run/dubbo-mesh";

/** The docker engine of the cluster: the one that was started for it; undefined means the user's own. */
export function dockerHost(): string | undefined {
  const socket = join(ENGINE_DIR, "docker.sock");
  return existsSync(socket) ? `unix://${socket}` : undefined;
}

/** The image registry, on the loopback device only. Port 5000 is taken on macOS. */
export const REGISTRY = "localhost:5001";
/** What images of applications are built on: Debian and Node.js, user `node` (1000). */
export const BASE_IMAGE = `${REGISTRY}/dubbo-mesh/node:22`;
