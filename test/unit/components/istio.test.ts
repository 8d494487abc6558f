import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { baseValues, chartOf, IstioControlPlane, istiodValues } from "../../../components/istio.ts";
import program from "../../../index.ts";
import { unchecked } from "../../../stack/checks.ts";
import { installationOf, istioSettings } from "../../../settings/istio.ts";
import { type Registered, register, type Registration } from "./mocks.ts";

const REPOSITORY = "https://istio-release.storage.googleapis.com/charts";
const RELEASE = "kubernetes:helm.sh/v3:Release";

async function declaredBy(given: object, revision?: string): Promise<Registration<unknown>> {
  const installation = installationOf(istioSettings.parse(given), revision);
  if (installation === undefined) throw new Error("nothing is installed");
  return register(() => new IstioControlPlane("istio", installation));
}

function inputsOf({ resources }: Registration<unknown>): Record<string, Registered["inputs"]> {
  const releases = resources.filter(({ type }) => type === RELEASE);
  return Object.fromEntries(releases.map(({ name, inputs }) => [name, inputs]));
}

describe("a chart", () => {
  it.each([
    [REPOSITORY, { chart: "istiod", version: "1.30.4", repositoryOpts: { repo: REPOSITORY } }],
    ["oci://r.test/istio/charts/", { chart: "oci://r.test/istio/charts/istiod", version: "1.30.4" }],
    ["../istio/manifests/charts", { chart: "../istio/manifests/charts/istio-control/istio-discovery" }],
  ])("from %s", (charts, chart) => {
    expect(chartOf("istiod", charts, "1.30.4")).toEqual(chart);
  });

  it("base is in the same folder", () => {
    expect(chartOf("base", "/istio/manifests/charts/", "1.30.4")).toEqual({
      chart: "/istio/manifests/charts/base",
    });
  });
});

describe("values", () => {
  it("of base set the CRDs, or the validating revision", () => {
    expect(baseValues({ mode: "crds", current: "a" })).toEqual({
      defaultRevision: "",
      global: { resourceScope: "cluster" },
    });
    expect(baseValues({ mode: "install", current: "" })).toEqual({ defaultRevision: "default" });
    expect(baseValues({ mode: "install", current: "a" })).toEqual({ defaultRevision: "a" });
  });

  it("of istiod merge the stack's values, images and other globals", () => {
    expect(istiodValues({ hub: undefined, tag: undefined, values: {} }, "")).toEqual({ revision: "" });
    const values = { autoscaleEnabled: false, global: { proxy: { logLevel: "debug" } } };
    expect(istiodValues({ hub: "r.test/istio", tag: "t", values }, "a")).toEqual({
      autoscaleEnabled: false,
      revision: "a",
      global: { proxy: { logLevel: "debug" }, hub: "r.test/istio", tag: "t" },
    });
  });
});

describe("the control plane", () => {
  it("is base, then an istiod for each revision", async () => {
    const revisions = [{ name: "1-30", version: "1.30.4" }, { name: "1-31" }];
    const declared = await declaredBy({ mode: "install", version: "1.31.0", revisions }, "1-30");
    expect(
      declared.resources.map(({ type, name, parent, dependsOn }) => [type, name, parent, dependsOn]),
    ).toEqual([
      ["dubbo-mesh:istio:IstioControlPlane", "istio", "", []],
      [RELEASE, "istio-base", "istio", []],
      [RELEASE, "istio-istiod-1-30", "istio", ["istio-base"]],
      [RELEASE, "istio-istiod-1-31", "istio", ["istio-base"]],
    ]);
    const of = (chart: string, version: string): object => ({
      chart,
      version,
      repositoryOpts: { repo: REPOSITORY },
      namespace: "istio-system",
    });
    expect(inputsOf(declared)).toMatchObject({
      "istio-base": {
        ...of("base", "1.31.0"),
        name: "istio-base",
        createNamespace: true,
        values: { defaultRevision: "1-30" },
      },
      "istio-istiod-1-30": { ...of("istiod", "1.30.4"), name: "istiod-1-30", values: { revision: "1-30" } },
      "istio-istiod-1-31": { ...of("istiod", "1.31.0"), name: "istiod-1-31", values: { revision: "1-31" } },
    });
    expect(declared.outputs).toEqual({ istio: {} });
  });

  it("is only base in mode crds", async () => {
    expect(Object.keys(inputsOf(await declaredBy({ mode: "crds" })))).toEqual(["istio-base"]);
  });

  it("names the istiod without a revision istiod", async () => {
    const { "istio-istiod": istiod } = inputsOf(await declaredBy({ mode: "install" }));
    expect(istiod).toMatchObject({ name: "istiod", values: { revision: "" } });
  });
});

describe("a stack that installs Istio", () => {
  const config = {
    context: "c",
    services: "[{ app: provider, image: 'r/p:1' }, { app: consumer, image: 'r/c:1' }]",
    istio: "mode: install",
    observability: "dashboard: true",
    security: "networkPolicy: true",
  };

  async function stack(given: Readonly<Record<string, string>>): Promise<readonly Registered[]> {
    const prefixed = Object.entries(given).map(([key, value]) => [`dubbo-mesh:${key}`, value]);
    pulumi.runtime.setAllConfig(Object.fromEntries(prefixed) as Record<string, string>);
    return (await register(() => program(unchecked))).resources;
  }

  /** Returns all transitive dependencies of a resource. */
  function before(name: string, resources: readonly Registered[]): Set<string> {
    const found = new Set<string>();
    const visit = (one: string): void => {
      const resource = resources.find((candidate) => candidate.name === one);
      for (const next of [resource?.parent ?? "", ...(resource?.dependsOn ?? [])]) {
        if (next === "" || found.has(next)) continue;
        found.add(next);
        visit(next);
      }
    };
    visit(name);
    return found;
  }

  const own = ({ type }: Registered): boolean =>
    type.startsWith("kubernetes:") && type !== RELEASE && !type.startsWith("pulumi:");

  it("gives istiod the domain of the cluster's Services", async () => {
    const resources = await stack({ ...config, clusterDomain: "mesh.example" });
    expect(resources.find(({ name }) => name === "mesh-istio-istiod")?.inputs).toMatchObject({
      values: { revision: "", global: { proxy: { clusterDomain: "mesh.example" } } },
    });
  });

  it("declares all objects after istiod, so that pods get sidecars and kinds exist", async () => {
    const resources = await stack(config);
    const objects = resources.filter(own);
    expect(objects).toHaveLength(21);
    const early = objects.filter(({ name }) => !before(name, resources).has("mesh-istio-istiod"));
    expect(early.map(({ name }) => name)).toEqual([]);
    expect(before("mesh-istio-istiod", resources)).toEqual(
      new Set(["mesh", "mesh-istio", "mesh-istio-base"]),
    );
  });

  it("installs nothing in mode existing", async () => {
    const resources = await stack({ ...config, istio: "mode: existing" });
    expect(resources.filter(({ type }) => type === RELEASE)).toEqual([]);
    expect(resources.filter(own)).toHaveLength(21);
  });
});
