import { afterEach, describe, expect, it, vi } from "vitest";
import yaml from "js-yaml";
import { CHARTS } from "../../../packages/local-cluster/artifacts.ts";
import { ISTIO_HUB } from "../../../packages/local-cluster/images.ts";
import { istioArgs } from "../../../packages/local-cluster/istio.ts";
import { kindConfiguration, podNetwork } from "../../../packages/local-cluster/kind.ts";
import { completePath, missingPackages } from "../../../packages/local-cluster/packages.ts";
import { publicImages } from "../../../packages/local-cluster/public.ts";
import { packagedRegistry } from "../../../packages/local-cluster/registry.ts";
import { chooseSource } from "../../../packages/local-cluster/public.ts";
import { ISTIO_TAG, KIND_NODE_IMAGE } from "../../../packages/local-cluster/versions.ts";

describe("missingPackages", () => {
  it("names each missing package once", () => {
    expect(missingPackages(() => false)).toEqual([
      "docker.io",
      "containerd",
      "runc",
      "debootstrap",
      "debian-archive-keyring",
      "iptables",
      "iproute2",
      "python3-pip",
    ]);
  });

  it("installs a package only if one of its programs is missing", () => {
    const there = new Set(["dockerd", "docker", "containerd", "ip"]);
    const missing = missingPackages((need) => there.has(need));
    expect(missing.slice(0, 2)).toEqual(["runc", "debootstrap"]);
    expect(missingPackages((need) => need !== "docker")).toEqual(["docker.io"]);
  });
});

describe("completePath", () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it("adds the system's folders once, after the user's", () => {
    vi.stubEnv("PATH", "/own:/usr/bin");
    completePath();
    completePath();
    expect(process.env["PATH"]).toBe("/own:/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin");
  });

  it("makes a package's programs available", () => {
    vi.stubEnv("PATH", "/nowhere");
    expect(missingPackages()).toContain("runc");
  });
});

describe("kindConfiguration", () => {
  const patches = (configuration: object): unknown => {
    const { kubeadmConfigPatches } = configuration as { kubeadmConfigPatches: string[] };
    return kubeadmConfigPatches.map((text) => yaml.load(text));
  };

  it("has one node, no kindnetd and a reachable address for packages in its own engine", () => {
    const made = kindConfiguration({ source: "packages", image: "node:1", nodes: 1 }, true);
    expect(made).toMatchObject({
      name: "dubbo-mesh",
      networking: { disableDefaultCNI: true, apiServerAddress: "198.18.7.2", apiServerPort: 6443 },
      nodes: [
        {
          role: "control-plane",
          image: "node:1",
          labels: { "topology.kubernetes.io/region": "dubbo-mesh", "topology.kubernetes.io/zone": "a" },
        },
      ],
    });
    expect(patches(made)).toEqual([
      { kind: "KubeletConfiguration", serializeImagePulls: false, failCgroupV1: false },
    ]);
  });

  it("leaves the network to kind for public images in the user's engine", () => {
    const made = kindConfiguration({ source: "public", image: "node:1", nodes: 2 }, false);
    expect(made).toMatchObject({
      networking: {},
      nodes: [
        {
          role: "control-plane",
          labels: { "topology.kubernetes.io/region": "dubbo-mesh", "topology.kubernetes.io/zone": "a" },
        },
        {
          role: "worker",
          image: "node:1",
          labels: { "topology.kubernetes.io/region": "dubbo-mesh", "topology.kubernetes.io/zone": "b" },
        },
      ],
    });
    expect((made as { networking: object }).networking).toEqual({});
    expect(patches(made)).toEqual([
      { kind: "KubeletConfiguration", serializeImagePulls: false },
      // Pods also run on the control plane.
      { kind: "InitConfiguration", nodeRegistration: { taints: [] } },
    ]);
  });
});

describe("podNetwork", () => {
  it("keeps a pod's address when it leaves its node", () => {
    expect(podNetwork("10.244.1.0/24")).toEqual({
      cniVersion: "0.4.0",
      name: "dubbo-mesh",
      plugins: [
        {
          type: "ptp",
          ipMasq: false,
          ipam: {
            type: "host-local",
            dataDir: "/run/cni-ipam-state",
            routes: [{ dst: "0.0.0.0/0" }],
            ranges: [[{ subnet: "10.244.1.0/24" }]],
          },
        },
        { type: "portmap", capabilities: { portMappings: true } },
      ],
    });
  });
});

describe("istioArgs", () => {
  it("use built charts and images for packages, and turn off what stock Envoy lacks", () => {
    expect(istioArgs("packages")).toMatchObject({
      mode: "install",
      charts: CHARTS,
      hub: ISTIO_HUB,
      tag: ISTIO_TAG,
      revisions: [{ name: "" }],
      values: {
        telemetry: { enabled: false },
        env: {
          CLOUD_PLATFORM: "none",
          PILOT_ENABLE_METADATA_EXCHANGE: "false",
          PILOT_ENABLE_ALPN_FILTER: "false",
        },
      },
    });
  });

  it("use Istio's release for public images", () => {
    const { charts, hub, tag, values } = istioArgs("public", {});
    expect({ charts, hub, tag }).toEqual({
      charts: "https://istio-release.storage.googleapis.com/charts",
      hub: undefined,
      tag: undefined,
    });
    expect(values).not.toHaveProperty("telemetry");
    expect(values).toMatchObject({ env: { CLOUD_PLATFORM: "none" } });
  });

  it("use charts and hub of a mirror for public images", () => {
    const charts = "oci://localhost:5002/charts";
    const hub = "localhost:5002/istio";
    const both = { DUBBO_MESH_ISTIO_CHARTS: charts, DUBBO_MESH_ISTIO_HUB: hub };
    expect(istioArgs("public", both)).toEqual({ ...istioArgs("public", {}), charts, hub });
    expect(istioArgs("public", { DUBBO_MESH_ISTIO_HUB: hub })).toEqual({ ...istioArgs("public", {}), hub });
    expect(istioArgs("public", { DUBBO_MESH_ISTIO_CHARTS: "" })).toEqual(istioArgs("public", {}));
    expect(istioArgs("packages", both)).toEqual(istioArgs("packages", {}));
  });
});

describe("chooseSource", () => {
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  it.each(["public", "packages"])("uses %s if configured", async (source) => {
    vi.stubGlobal("fetch", () => Promise.reject(new Error("asked")));
    expect(await chooseSource(source)).toBe(source);
  });

  it("rejects other values", async () => {
    await expect(chooseSource("debian")).rejects.toMatchObject({
      message: "DUBBO_MESH_IMAGES is debian",
      fix: "Set it to public or packages, or unset it.",
    });
  });

  it("uses public images only if the registry itself answers, not a proxy", async () => {
    const answer = (headers: Record<string, string>): void => {
      vi.stubGlobal("fetch", () => Promise.resolve(new Response("", { status: 401, headers })));
    };
    answer({ "docker-distribution-api-version": "registry/2.0" });
    expect(await chooseSource("")).toBe("public");
    answer({ via: "1.1 proxy" });
    expect(await chooseSource("")).toBe("packages");
    vi.stubGlobal("fetch", () => Promise.reject(new Error("no such host")));
    expect(await chooseSource("")).toBe("packages");
  });
});

describe("publicImages", () => {
  it("are kind's, a registry and Node.js, or those of the variables", () => {
    expect(publicImages({})).toEqual({
      node: KIND_NODE_IMAGE,
      registry: "registry:3",
      base: "node:22-trixie-slim",
      istio: {},
    });
    const mirrored = publicImages({
      DUBBO_MESH_NODE_IMAGE: "mirror/node",
      DUBBO_MESH_REGISTRY_IMAGE: "mirror/registry",
      DUBBO_MESH_BASE_IMAGE: "mirror/base",
      DUBBO_MESH_ISTIO_CHARTS: "mirror/charts",
      DUBBO_MESH_ISTIO_HUB: "mirror/istio",
    });
    expect(mirrored).toEqual({
      node: "mirror/node",
      registry: "mirror/registry",
      base: "mirror/base",
      istio: { charts: "mirror/charts", hub: "mirror/istio" },
    });
  });

  it("name kind's node by digest", () => {
    expect(KIND_NODE_IMAGE).toMatch(/^kindest\/node:v1\.\d+\.\d+@sha256:[0-9a-f]{64}$/);
  });
});

describe("packagedRegistry", () => {
  it("runs Debian's registry from the node's image", () => {
    expect(packagedRegistry("node:1")).toEqual([
      ...["--entrypoint", "docker-registry"],
      ...["node:1", "serve", "/etc/docker/registry/config.yml"],
    ]);
  });
});
