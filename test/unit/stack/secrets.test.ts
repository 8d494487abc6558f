import { createDecipheriv, pbkdf2Sync } from "node:crypto";
import { resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { readContent } from "../../../stack/files.ts";
import { hasSecrets, hideSpec } from "../../../stack/secrets.ts";

describe("a stack's encrypted values", () => {
  it("are listed by the engine", () => {
    expect(hasSecrets({})).toBe(false);
    expect(hasSecrets({ PULUMI_CONFIG_SECRET_KEYS: "" })).toBe(false);
    expect(hasSecrets({ PULUMI_CONFIG_SECRET_KEYS: "[]" })).toBe(false);
    expect(hasSecrets({ PULUMI_CONFIG_SECRET_KEYS: '["dubbo-mesh:services"]' })).toBe(true);
  });

  const transformed = (type: string, props: pulumi.Inputs): pulumi.Inputs | undefined =>
    // The resource itself does not matter.
    hideSpec({ type, name: "n", props, opts: {} } as pulumi.ResourceTransformationArgs)?.props;

  it("make only the spec of each Kubernetes object secret", async () => {
    const metadata = { name: "a" };
    const props = transformed("kubernetes:apps/v1:Deployment", { metadata, spec: { replicas: 2 } });
    expect(props?.["metadata"]).toBe(metadata);
    const spec = props?.["spec"] as pulumi.Output<unknown>;
    expect(await pulumi.isSecret(spec)).toBe(true);
    expect(await new Promise((resolve) => spec.apply(resolve))).toEqual({ replicas: 2 });
  });

  it("do not change other resources", () => {
    expect(transformed("docker:index/image:Image", { spec: 1 })).toBeUndefined();
    expect(transformed("kubernetes:core/v1:Namespace", { metadata: {} })).toBeUndefined();
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
