/** Facts about the local cluster. An import of this file starts nothing. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { CACHE_DIR } from "./artifacts/cache.ts";

/**
 * Folder of the running cluster's files: its kubeconfig and the state of its Istio. `cluster down`
 * deletes it.
 */
export const STATE_DIR = join(CACHE_DIR, "cluster");

/** Name of the cluster in kind, and of its network in docker. */
export const NAME = "dubbo-mesh";
/** Kubeconfig of the cluster's administrator. No other kubeconfig is changed. */
export const KUBECONFIG = join(STATE_DIR, "kubeconfig");
/** The only context in KUBECONFIG. */
export const CONTEXT = `kind-${NAME}`;

/**
 * Returns the kubectl command and its first arguments. The binary built with the cluster comes
 * first, then the one on PATH.
 */
export function localKubectl(): string[] {
  const kube = join(CACHE_DIR, "bin", "kube");
  return existsSync(kube) ? [kube, "kubectl"] : ["kubectl"];
}

/** Sockets and state of the docker engine that `cluster up` starts if none runs. */
export const ENGINE_DIR = "/run/dubbo-mesh";

/**
 * Returns the socket of the docker engine started for the cluster; undefined means the user's
 * engine.
 */
export function dockerHost(): string | undefined {
  const socket = join(ENGINE_DIR, "docker.sock");
  return existsSync(socket) ? `unix://${socket}` : undefined;
}

/** The image registry, on the loopback device only. macOS uses port 5000 itself. */
export const REGISTRY = "localhost:5001";
/** Base image of the applications: Debian and Node.js, user `node` (1000). */
export const BASE_IMAGE = `${REGISTRY}/dubbo-mesh/node:22`;
