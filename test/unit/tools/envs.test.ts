import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { differences, environments, environmentsText } from "../../../tools/envs.ts";
import { readStackFile } from "../../../stack/stack-file.ts";

const DIRECTORY = resolve(import.meta.dirname, "../../..");
const STACKS = ["canary", "dev", "prod", "staging"];

describe("differences of stacks", () => {
  const services = (weight: number): object[] => [
    { app: "provider", versions: [{ name: "v1", weight }] },
    { name: "shop", port: 1, offers: ["a.B", "a.C"] },
  ];
  const found = differences(
    new Map([
      ["a", { namespace: "x", security: { mtls: "STRICT" }, services: services(80) }],
      ["b", { namespace: "x", production: true, services: [...services(100)].reverse() }],
    ]),
  );

  it("are by path, services and versions by name, wherever they stand", () => {
    expect(found).toEqual([
      { setting: "production", values: { a: undefined, b: "true" } },
      { setting: "security.mtls", values: { a: "STRICT", b: undefined } },
      { setting: "services.provider.versions.v1.weight", values: { a: "80", b: "100" } },
    ]);
  });

  it("are a table, in which a dash is the default", () => {
    expect(environmentsText(found)).toBe(
      [
        "setting                               a       b",
        "production                            -       true",
        "security.mtls                         STRICT  -",
        "services.provider.versions.v1.weight  80      100",
      ].join("\n"),
    );
    expect(environmentsText([])).toBe("the stacks do not differ");
  });
});

describe("the stacks of a folder", () => {
  it("are read from their files, lists and texts alike", async () => {
    const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
    const write = (stack: string, text: string): void => {
      writeFileSync(join(directory, `Pulumi.${stack}.yaml`), `config:\n  dubbo-mesh:cluster: local\n${text}`);
    };
    write("a", "  dubbo-mesh:services: [{ app: provider }, { app: consumer, replicas: 2 }]\n");
    write("b", '  dubbo-mesh:services: "[{ app: consumer, replicas: 3 }, { app: provider }]"\n');
    expect(await environments(directory)).toEqual([
      { setting: "services.consumer.replicas", values: { a: "2", b: "3" } },
    ]);
  });
});

describe("the project's own stacks", () => {
  it("go to places of their own", async () => {
    const files = await Promise.all(STACKS.map(async (stack) => readStackFile(DIRECTORY, stack)));
    const places = files.map(({ settings: { context, namespace } }) => `${context} ${namespace}`);
    expect(places).toEqual([
      "kind-dubbo-mesh dubbo-canary",
      "kind-dubbo-mesh dubbo-demo",
      "prod dubbo-prod",
      "staging dubbo-staging",
    ]);
  });
});
