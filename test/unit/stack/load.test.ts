import { afterEach, describe, expect, it, vi } from "vitest";
import { imageLoad, loadCommand } from "../../../settings/image-load.ts";
import { loadImage } from "../../../stack/load.ts";
import { fakeCommand } from "../tools/fake-command.ts";
import { userError } from "../tools/user-error.ts";

const REFERENCE = "loaded.invalid/dubbo-mesh/provider:0123";
const KIND = { tool: "kind", cluster: "my-own" } as const;

afterEach(() => {
  vi.unstubAllEnvs();
});

describe("images without a registry", () => {
  it.each([
    ["minikube", { tool: "minikube", cluster: "minikube" }],
    ["kind-my-own", KIND],
    ["kind", undefined],
    ["kind-", undefined],
    ["gke_team_zone_kind-1", undefined],
  ])("of the context %s are loaded by %j", (context, load) => {
    expect(imageLoad(context)).toEqual(load);
  });

  // These match the tools' documentation. minikube itself was never run.
  it("are loaded by the tools' commands", () => {
    expect(loadCommand(REFERENCE, KIND)).toEqual([
      ...["kind", "load", "docker-image", REFERENCE],
      ...["--name", "my-own"],
    ]);
    expect(loadCommand(REFERENCE, { tool: "minikube", cluster: "minikube" })).toEqual([
      ...["minikube", "--profile", "minikube"],
      ...["image", "load", REFERENCE],
    ]);
  });

  it("are returned after the tool has loaded them", async () => {
    const fake = fakeCommand("kind", [{}]);
    vi.stubEnv("PATH", fake.folder);
    expect(await loadImage(REFERENCE, KIND)).toBe(REFERENCE);
    expect(fake.calls().map(({ args }) => args)).toEqual([
      ["load", "docker-image", REFERENCE, "--name", "my-own"],
    ]);
  });

  it("report a missing tool, and a failure", async () => {
    vi.stubEnv("PATH", "/nowhere");
    expect(await userError(loadImage(REFERENCE, KIND))).toEqual({
      message: "kind, which loads images into the cluster my-own, is not installed",
      fix: "Install kind, or push the images to a registry: REGISTRY=HOST/ORGANISATION.",
    });
    vi.stubEnv("PATH", fakeCommand("kind", [{ stderr: "ERROR: no nodes found\n", code: 1 }]).folder);
    expect(await userError(loadImage(REFERENCE, KIND))).toEqual({
      message: `kind could not load ${REFERENCE} into the cluster my-own: ERROR: no nodes found`,
      fix: "Fix the reported problem, or push the images to a registry: REGISTRY=HOST/ORGANISATION.",
    });
  });
});
