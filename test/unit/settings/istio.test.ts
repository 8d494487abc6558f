import { describe, expect, it } from "vitest";
import { UserError } from "../../../common/errors.ts";
import { installationOf, istioSettings, listOperation, minorOf } from "../../../settings/istio.ts";
import { parseSettings } from "../../../settings/settings.ts";

const IMAGES = { services: "[{ app: provider, image: 'r/p:1' }, { app: consumer, image: 'r/c:1' }]" };
const EXISTING = { context: "c", ...IMAGES };

function errorOf(raw: Readonly<Record<string, string>>): string {
  try {
    parseSettings(raw);
  } catch (error) {
    if (error instanceof UserError) return error.message;
    throw error;
  }
  return "accepted";
}

describe("a version", () => {
  it("is ordered by major and minor", () => {
    const versions = ["0.9", "1.9.1", "1.24", "1.30.4", "1.31-alpha.eed52ebb66ad-unknown-unknown", "2.0"];
    expect(versions.map(minorOf)).toEqual([9, 1009, 1024, 1030, 1031, 2000]);
    expect(minorOf("latest")).toBeNaN();
  });
});

describe("settings of Istio", () => {
  it.each([
    ["mode: install", "accepted"],
    ['version: "1.31"', "accepted"],
    ["version: 1.31-alpha.1", "accepted"],
    [
      "{ mode: install, revisions: [{ name: next }] }",
      "dubbo-mesh:revision: is not set, but istio.revisions has only next: no istiod would inject sidecars",
    ],
    ["mode: other", 'dubbo-mesh:istio.mode: Invalid option: expected one of "existing"|"crds"|"install"'],
    ["version: 1.31", 'dubbo-mesh:istio.version: must be text such as 1.30.4 or, in quotes, "1.30"'],
    ["version: v1.31.0", 'dubbo-mesh:istio.version: must be a version such as 1.30.4 or "1.30"'],
    ["version: 1.23.6", "dubbo-mesh:istio.version: must be 1.24 or newer"],
    ["hubs: h", "dubbo-mesh:istio.hubs: no such key"],
    ["hub: h", "dubbo-mesh:istio.hub: has no effect if istio.mode is existing: remove it"],
    ["charts: ./c", "dubbo-mesh:istio.charts: has no effect if istio.mode is existing: remove it"],
    ["{ mode: crds, values: {} }", "dubbo-mesh:istio.values: has no effect if istio.mode is crds: remove it"],
    [
      '{ mode: crds, version: "1.30" }',
      "dubbo-mesh:istio.version: is 1.30, but a chart needs a full version, such as 1.30.4",
    ],
    [
      '{ mode: install, revisions: [{ name: a, version: "1.29" }] }',
      "dubbo-mesh:istio.revisions[0].version: is 1.29, but a chart needs a full version, such as 1.30.4",
    ],
    [
      "{ mode: install, version: 1.29.2, revisions: [{ name: a, version: 1.30.4 }] }",
      "dubbo-mesh:istio.revisions[0].version: is 1.30.4, newer than istio.version, 1.29.2: Istio's CRDs must be as new as the newest istiod",
    ],
    [
      "{ mode: install, revisions: [{ name: a }, { name: a }] }",
      "dubbo-mesh:istio.revisions: two revisions have the same name",
    ],
    [
      "{ mode: install, values: { revision: a } }",
      "dubbo-mesh:istio.values: must not have revision: use revision or istio.revisions",
    ],
    [
      "{ mode: install, values: { global: { hub: a } } }",
      "dubbo-mesh:istio.values: must not have global.hub: use istio.hub",
    ],
    [
      "{ mode: install, values: { global: { tag: a } } }",
      "dubbo-mesh:istio.values: must not have global.tag: use istio.tag",
    ],
  ])("%s: %s", (istio, message) => {
    expect(errorOf({ ...EXISTING, istio })).toBe(message);
  });

  it("do not install into the local cluster, which has Istio", () => {
    expect(errorOf({ cluster: "local", istio: "mode: crds" })).toBe(
      "dubbo-mesh:istio.mode: is crds, but cluster is local, which has Istio: remove it",
    );
  });

  it("refuse the namespaces of the Istio that is installed", () => {
    const values = "{ global: { istioNamespace: mesh }, meshConfig: { rootNamespace: mesh-rules } }";
    const own = (namespace: string): string =>
      errorOf({ ...EXISTING, istio: `{ mode: install, values: ${values} }`, namespace });
    for (const namespace of ["mesh", "mesh-rules", "istio-system"]) {
      expect(own(namespace)).toBe(
        `dubbo-mesh:namespace: is ${namespace}, Istio's own: policies there are for the whole mesh, and down would remove istiod; choose another`,
      );
    }
    expect(own("other")).toBe("accepted");
  });

  const SIDECARS = "dubbo-mesh:istio.values.global.proxy.resources";
  it.each([
    [
      "{ global: { proxy: { resources: { limits: { memory: 64Mi } } } } }",
      {},
      `${SIDECARS}.limits.memory: is 64Mi, less than the default request, 128Mi: set requests.memory, too`,
    ],
    [
      "{ global: { proxy: { resources: { requests: { cpu: 3 } } } } }",
      {},
      `${SIDECARS}.requests.cpu: is 3, more than the default limit, 2000m: set limits.cpu, too`,
    ],
    [
      "{ global: { proxy: { resources: { requests: { cpu: 3 } } } } }",
      { proxy: "requests: { cpu: 1 }" },
      "accepted",
    ],
    ["{ profile: demo, global: { proxy: { resources: { limits: { memory: 64Mi } } } } }", {}, "accepted"],
    // Helm's way to take a default away.
    ["{ global: { proxy: { resources: { requests: { cpu: 3 }, limits: { cpu: null } } } } }", {}, "accepted"],
    ["{ global: 1, meshConfig: [] }", {}, "accepted"],
  ])("compare the resources of sidecars with Istio's defaults: %s, %j", (values, raw, message) => {
    expect(errorOf({ ...EXISTING, istio: `{ mode: install, values: ${values} }`, ...raw })).toBe(message);
  });

  it("refuse a revision whose Helm release has too long a name", () => {
    const [longest, over] = ["r".repeat(46), "r".repeat(47)];
    const message = `makes the Helm release istiod-${over}, and Helm accepts 53 characters: shorten it`;
    expect(errorOf({ ...EXISTING, istio: "mode: install", revision: longest })).toBe("accepted");
    expect(errorOf({ ...EXISTING, istio: "mode: install", revision: over })).toBe(
      `dubbo-mesh:revision: ${message}`,
    );
    expect(errorOf({ ...EXISTING, revision: over })).toBe("accepted");
    const istio = `{ mode: install, revisions: [{ name: a }, { name: ${over} }] }`;
    expect(errorOf({ ...EXISTING, istio, revision: "a" })).toBe(
      `dubbo-mesh:istio.revisions[1].name: ${message}`,
    );
  });

  it("reject a revision without an istiod", () => {
    const istio = "{ mode: install, revisions: [{ name: a }, { name: b }] }";
    expect(errorOf({ ...EXISTING, istio, revision: "c" })).toBe(
      "dubbo-mesh:revision: is c, but istio.revisions has only a, b: no istiod would inject sidecars",
    );
    expect(errorOf({ ...EXISTING, istio, revision: "b" })).toBe("accepted");
  });
});

describe("settings of observability", () => {
  it.each([
    ["{ tracing: {} }", "accepted"],
    [
      "{ tracing: { sampling: 101 } }",
      "dubbo-mesh:observability.tracing.sampling: Too big: expected number to be <=100",
    ],
    [
      "{ tracing: { sampling: -1 } }",
      "dubbo-mesh:observability.tracing.sampling: Too small: expected number to be >=0",
    ],
    [
      "{ tracing: { provider: otel } }",
      "dubbo-mesh:observability.tracing.service: is required with provider: proxies reject their listeners if they do not know the host of the traces",
    ],
    ["{ tracing: { provider: otel, service: otel.traces.svc.cluster.local } }", "accepted"],
    ["{ tracing: { service: traces.example.org } }", "accepted"],
    ...[
      "otel",
      "otel.traces.svc",
      "traces/otel.traces.svc.cluster.local",
      `${"o".repeat(64)}.example.org`,
    ].map((service): [string, string] => [
      `{ tracing: { service: ${service} } }`,
      "dubbo-mesh:observability.tracing.service: must be a full host name, such as collector.observability.svc.cluster.local",
    ]),
    [
      `{ tracing: { service: ${"o.".repeat(127)}o } }`,
      "dubbo-mesh:observability.tracing.service: must have at most 253 characters",
    ],
    ["{ tracing: { rate: 1 } }", "dubbo-mesh:observability.tracing.rate: no such key"],
    [
      "{ dashboard: maybe }",
      "dubbo-mesh:observability.dashboard: Invalid input: expected boolean, received string",
    ],
  ])("%s: %s", (observability, message) => {
    expect(errorOf({ ...EXISTING, observability })).toBe(message);
  });
});

describe("an installation", () => {
  it("is undefined in mode existing", () => {
    expect(installationOf(istioSettings.parse({ version: "1.31" }), "a")).toBeUndefined();
  });

  it("is pinned, and has one istiod of the stack's revision by default", () => {
    const installed = {
      mode: "install",
      version: "1.30.4",
      charts: "https://istio-release.storage.googleapis.com/charts",
      hub: undefined,
      tag: undefined,
      values: {},
    };
    const settings = istioSettings.parse({ mode: "install" });
    expect(installationOf(settings)).toEqual({
      ...installed,
      revisions: [{ name: "", version: "1.30.4" }],
      current: "",
    });
    expect(installationOf(settings, "1-30")).toEqual({
      ...installed,
      revisions: [{ name: "1-30", version: "1.30.4" }],
      current: "1-30",
    });
  });

  it("has the domain of the cluster's Services", () => {
    const settings = istioSettings.parse({
      mode: "install",
      values: { pilot: {}, global: { logAsJson: true, proxy: { logLevel: "debug" } } },
    });
    expect(installationOf(settings, "", "mesh.example")?.values).toEqual({
      pilot: {},
      global: { logAsJson: true, proxy: { logLevel: "debug", clusterDomain: "mesh.example" } },
    });
    expect(installationOf(settings, "", "cluster.local")?.values).toEqual(settings.values);
  });

  it("has no istiod in mode crds", () => {
    const settings = istioSettings.parse({ mode: "crds", version: "1.31.0", charts: "oci://h/charts" });
    expect(installationOf(settings, "1-31")).toMatchObject({
      version: "1.31.0",
      charts: "oci://h/charts",
      revisions: [],
    });
  });

  it("has an istiod for each revision, with its own version or the stack's", () => {
    const revisions = [{ name: "1-30", version: "1.30.4" }, { name: "1-31" }];
    const settings = istioSettings.parse({ mode: "install", version: "1.31.0", revisions });
    expect(installationOf(settings, "1-30")).toMatchObject({
      version: "1.31.0",
      revisions: [
        { name: "1-30", version: "1.30.4" },
        { name: "1-31", version: "1.31.0" },
      ],
      current: "1-30",
    });
  });
});

describe("the operation that merges lists", () => {
  it.each([
    [{}, "MERGE"],
    [{ version: "1.30" }, "MERGE"],
    [{ version: "1.31" }, "MERGE_AND_REPLACE_LIST"],
    [{ version: "1.31-alpha.eed52ebb66ad" }, "MERGE_AND_REPLACE_LIST"],
    [{ mode: "install" }, "MERGE"],
    [{ mode: "install", version: "1.31.0" }, "MERGE_AND_REPLACE_LIST"],
    [{ mode: "install", version: "1.31.0", revisions: [{ name: "a" }] }, "MERGE_AND_REPLACE_LIST"],
    [
      { mode: "install", version: "1.31.0", revisions: [{ name: "a", version: "1.30.4" }, { name: "b" }] },
      "MERGE",
    ],
  ])("is supported by every istiod of %j: %s", (given, operation) => {
    expect(listOperation(istioSettings.parse(given))).toBe(operation);
  });
});
