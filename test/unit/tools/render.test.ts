import { mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import yaml from "js-yaml";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { toYaml } from "../../../common/yaml.ts";
import { render } from "../../../tools/render.ts";
import { readStackFile, type StackFile } from "../../../stack/stack-file.ts";
import { declaredBy } from "../program.ts";
import { userError } from "./user-error.ts";

const CONFIG = {
  context: "minikube",
  services: [
    { app: "provider", image: "r.test/provider:1" },
    { app: "consumer", image: "r.test/consumer:1" },
  ],
};

async function stack(config: Readonly<Record<string, unknown>>): Promise<StackFile> {
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
  const prefixed = Object.entries(config).map(([key, value]) => [`dubbo-mesh:${key}`, value]);
  const text = toYaml({ config: Object.fromEntries(prefixed) as object });
  writeFileSync(join(directory, "Pulumi.test.yaml"), text);
  return readStackFile(directory, "test");
}

function contents(directory: string): Record<string, string> {
  const names = readdirSync(directory).sort();
  const texts = names.map((name) => [name, readFileSync(join(directory, name), "utf8")]);
  return Object.fromEntries(texts) as Record<string, string>;
}

const newFolder = (): string => join(mkdtempSync(join(tmpdir(), "dubbo-mesh-test-")), "deep/rendered");

// Rendering needs no command: neither docker nor kubectl nor pulumi.
beforeEach(() => {
  vi.stubEnv("PATH", "/nowhere");
});
afterEach(() => {
  vi.unstubAllEnvs();
});

describe("a rendered stack", () => {
  it("has one file per object, numbered in the order of declaration", async () => {
    const directory = newFolder();
    const files = await render(await stack(CONFIG), directory);
    expect(files.map((file) => basename(file).replace(/^\d\d-/, "")).sort()).toEqual([
      "authorizationpolicy-dubbo-samples-mesh-provider.dubbo-sa.yaml",
      "deployment-dubbo-samples-mesh-consumer.yaml",
      "deployment-dubbo-samples-mesh-provider-v1.yaml",
      "destinationrule-dubbo-samples-mesh-provider.v1.yaml",
      "destinationrule-dubbo-samples-mesh-provider.yaml",
      "envoyfilter-cluster.yaml",
      "namespace-dubbo-demo.yaml",
      "peerauthentication-default.yaml",
      "poddisruptionbudget-dubbo-samples-mesh-provider-v1.yaml",
      "role-dubbo-sa.yaml",
      "rolebinding-dubbo-sa.yaml",
      "service-dubbo-samples-mesh-consumer.yaml",
      "service-dubbo-samples-mesh-provider.yaml",
      "serviceaccount-dubbo-sa.yaml",
      "sidecar-dubbo-samples-mesh-consumer.yaml",
      "sidecar-dubbo-samples-mesh-provider.yaml",
      "telemetry-access-logs.yaml",
      "virtualservice-dubbo-samples-mesh-provider.yaml",
    ]);
    expect(files[0]).toBe(join(directory, "00-namespace-dubbo-demo.yaml"));
    expect(files.map((file) => Number(basename(file).slice(0, 2)))).toEqual([...files.keys()]);
    expect(readdirSync(directory).sort()).toEqual(files.map((file) => basename(file)));
    const { objects } = await declaredBy(CONFIG);
    expect(files.map((file) => yaml.load(readFileSync(file, "utf8")))).toEqual(objects);
  });

  it("has the same bytes each time", async () => {
    const [first, second] = [newFolder(), newFolder()];
    await render(await stack(CONFIG), first);
    const once = contents(first);
    await render(await stack(CONFIG), second);
    await render(await stack(CONFIG), first);
    expect(contents(second)).toEqual(once);
    expect(contents(first)).toEqual(once);
    expect(Object.keys(once)).toHaveLength(18);
  });

  it("replaces an earlier one, and keeps all other files", async () => {
    const directory = newFolder();
    await render(await stack(CONFIG), directory);
    const others = [
      "README.md",
      "kustomization.yaml",
      "00-notes.txt",
      "1-service-mine.yaml",
      "service-mine.yaml",
    ];
    for (const name of others) writeFileSync(join(directory, name), name);
    mkdirSync(join(directory, "patches"));
    writeFileSync(join(directory, "33-service-old.yaml"), "old");
    const [provider, consumer] = CONFIG.services;
    const renamed = { ...CONFIG, namespace: "other", services: [provider, { ...consumer, name: "caller" }] };
    const files = await render(await stack(renamed), directory);
    expect(readdirSync(directory).sort()).toEqual(
      [...files.map((file) => basename(file)), ...others, "patches"].sort(),
    );
    expect(files.map((file) => basename(file))).toContain("00-namespace-other.yaml");
    expect(readFileSync(join(directory, "service-mine.yaml"), "utf8")).toBe("service-mine.yaml");
  });

  it("keeps an earlier one if the stack cannot be rendered", async () => {
    const directory = newFolder();
    await render(await stack(CONFIG), directory);
    const once = contents(directory);
    const encrypted = await stack({ ...CONFIG, namespace: { secure: "v1:abc" } });
    await expect(render(encrypted, directory)).rejects.toThrow(
      "stack test has encrypted values (namespace), which only Pulumi can read",
    );
    expect(contents(directory)).toEqual(once);
  });

  it.each(["crds", "install"])("is an error if the stack installs Istio: %s", async (mode) => {
    expect(await userError(render(await stack({ ...CONFIG, istio: { mode } }), newFolder()))).toEqual({
      message: `dubbo-mesh:istio.mode is ${mode}, whose Helm releases cannot be rendered without Pulumi's engine`,
      fix: "Use `make preview`, or leave istio.mode out for this.",
    });
  });

  it("that the program rejects is an error with its fix", async () => {
    const services = [{ name: "x", port: 1024, build: { context: "nowhere" } }];
    const { message, fix } = await userError(
      render(await stack({ cluster: "local", services }), newFolder()),
    );
    expect(message).toMatch(
      /^dubbo-mesh:services\[0\]\.build: the image's build context nowhere cannot be read: ENOENT \S+\/nowhere$/,
    );
    expect(fix).toBe(
      "Set build.context to a folder of the project, and build.dockerfile to a Dockerfile if it has none.",
    );
  });
});
