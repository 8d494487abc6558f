import { createDecipheriv, pbkdf2Sync } from "node:crypto";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { toYaml } from "../../../common/yaml.ts";
import { readContent } from "../../../stack/files.ts";
import { hideEncrypted } from "../../../stack/secrets.ts";

describe("a stack's encrypted values", () => {
  const SECURE = { secure: "v1:opaque" };
  const SERVICES = "dubbo-mesh:services";
  /** Services with a property and a weight, which a stack file may encrypt. */
  const services = (property: unknown, weight: unknown): object[] => [
    { name: "greeter", properties: { "dubbo.owner": property }, versions: [{ name: "v1", weight }] },
  ];
  const running = { [SERVICES]: JSON.stringify(services("a-secret", 5)) };

  const POD = { metadata: { labels: { app: "a" } }, spec: { containers: [{ name: "app" }], volumes: [] } };
  const SPECS = { metadata: { name: "a" }, spec: { replicas: 2, template: POD } };
  const RELEASE = { name: "istiod", values: { pilot: { env: { A: "b" } } } };
  const RESOURCES = {
    "kubernetes:apps/v1:Deployment": SPECS,
    "kubernetes:networking.istio.io/v1:VirtualService": SPECS,
    "kubernetes:helm.sh/v3:Release": RELEASE,
    "docker:index/image:Image": SPECS,
  };

  async function plain(value: object): Promise<unknown> {
    return new Promise((resolve) => {
      pulumi.all(value as Record<string, unknown>).apply(resolve);
    });
  }

  /** Returns the paths of secret values. */
  async function secretsIn(value: unknown, path: string): Promise<string[]> {
    if (pulumi.Output.isInstance(value)) return (await pulumi.isSecret(value)) ? [path] : [];
    if (typeof value !== "object" || value === null) return [];
    const parts = Object.entries(value).map(async ([key, part]) => secretsIn(part, `${path} ${key}`));
    return (await Promise.all(parts)).flat();
  }

  /** Returns what the transformations of a stack with this file hide. They change no value. */
  async function hiddenBy(
    inFile: Readonly<Record<string, unknown>> | undefined,
    encrypted: readonly string[] = [SERVICES],
    resources: Readonly<Record<string, object>> = RESOURCES,
  ): Promise<string[]> {
    const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
    if (inFile !== undefined) writeFileSync(join(directory, "Pulumi.test.yaml"), toYaml({ config: inFile }));
    const environment = { PULUMI_CONFIG_SECRET_KEYS: JSON.stringify(encrypted) };
    const made = await hideEncrypted({ directory, stack: "test", config: running, environment });
    const found: string[] = [];
    for (const [type, props] of Object.entries(resources)) {
      for (const transform of made) {
        const args = { type, name: "n", props, opts: {} } as unknown as pulumi.ResourceTransformationArgs;
        const result = transform(args);
        if (result === undefined) continue;
        expect(await plain(result.props)).toEqual(await plain(props));
        found.push(...(await secretsIn(result.props, type)));
      }
    }
    return found;
  }

  const ALL = [
    "kubernetes:apps/v1:Deployment spec",
    "kubernetes:networking.istio.io/v1:VirtualService spec",
    "kubernetes:helm.sh/v3:Release values",
  ];

  it("hide the containers, if only properties of applications are encrypted", async () => {
    expect(await hiddenBy({ [SERVICES]: services(SECURE, 5) })).toEqual([
      "kubernetes:apps/v1:Deployment spec template spec containers",
    ]);
    expect(await hiddenBy({ services: services(SECURE, 5) })).toHaveLength(1);
  });

  it.each([
    ["another value is encrypted", { [SERVICES]: services(SECURE, SECURE) }, [SERVICES]],
    ["all services are encrypted", { [SERVICES]: SECURE }, [SERVICES]],
    [
      "another key is encrypted",
      { [SERVICES]: services(SECURE, 5), "dubbo-mesh:registry": SECURE },
      [SERVICES, "dubbo-mesh:registry"],
    ],
    ["the running values are not the file's", { [SERVICES]: services(SECURE, 6) }, [SERVICES]],
    ["the file lacks the services", {}, [SERVICES]],
    ["the file encrypts nothing", { [SERVICES]: services("a-secret", 5) }, [SERVICES]],
    ["there is no file", undefined, [SERVICES]],
  ])("hide all specs, if %s", async (_, inFile, encrypted) => {
    expect(await hiddenBy(inFile, encrypted)).toEqual(ALL);
  });

  it("of other projects hide nothing", async () => {
    expect(await hiddenBy({}, ["aws:secretKey"])).toEqual([]);
    const empty = { directory: "/nowhere", stack: "test", config: {} };
    expect(await hideEncrypted({ ...empty, environment: {} })).toEqual([]);
    expect(await hideEncrypted({ ...empty, environment: { PULUMI_CONFIG_SECRET_KEYS: "" } })).toEqual([]);
  });

  it("hide the spec of a Deployment that has its containers elsewhere", async () => {
    const other = { "kubernetes:apps/v1:Deployment": { spec: pulumi.output(SPECS.spec) } };
    expect(await hiddenBy({ [SERVICES]: services(SECURE, 5) }, [SERVICES], other)).toEqual([
      "kubernetes:apps/v1:Deployment spec",
    ]);
  });
});

describe("the salt of a committed stack", () => {
  const parts = z.tuple([z.literal("v1"), z.string(), z.literal("v1"), z.string(), z.string()]);

  // AES-256-GCM of "pulumi" with a key of PBKDF2.
  // Source: pulumi/sdk, go/common/resource/config/crypt.go
  it.each(["dev", "canary"])("is that of the empty passphrase: %s", async (stack) => {
    const { encryptionsalt } = await readContent(resolve(import.meta.dirname, "../../.."), stack);
    const [, salt, , nonce, sealed] = parts.parse(String(encryptionsalt).split(":"));
    const key = pbkdf2Sync("", Buffer.from(salt, "base64"), 1_000_000, 32, "sha256");
    const content = Buffer.from(sealed, "base64");
    const decipher = createDecipheriv("aes-256-gcm", key, Buffer.from(nonce, "base64"));
    decipher.setAuthTag(content.subarray(-16));
    const opened = Buffer.concat([decipher.update(content.subarray(0, -16)), decipher.final()]);
    expect(opened.toString("utf8")).toBe("pulumi");
  });
});
