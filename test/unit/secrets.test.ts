import * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { hasSecrets, hideSpec } from "../../stack/secrets.ts";

describe("a stack's encrypted values", () => {
  it("are known by what the engine says beside the configuration", () => {
    expect(hasSecrets({})).toBe(false);
    expect(hasSecrets({ PULUMI_CONFIG_SECRET_KEYS: "" })).toBe(false);
    expect(hasSecrets({ PULUMI_CONFIG_SECRET_KEYS: "[]" })).toBe(false);
    expect(hasSecrets({ PULUMI_CONFIG_SECRET_KEYS: '["dubbo-mesh:services"]' })).toBe(true);
  });

  const transformed = (type: string, props: pulumi.Inputs): pulumi.Inputs | undefined =>
    // Which resource it is makes no difference.
    hideSpec({ type, name: "n", props, opts: {} } as pulumi.ResourceTransformationArgs)?.props;

  it("make the spec of each Kubernetes object a secret, and nothing else of it", async () => {
    const metadata = { name: "a" };
    const props = transformed("kubernetes:apps/v1:Deployment", { metadata, spec: { replicas: 2 } });
    expect(props?.["metadata"]).toBe(metadata);
    const spec = props?.["spec"] as pulumi.Output<unknown>;
    expect(await pulumi.isSecret(spec)).toBe(true);
    expect(await new Promise((resolve) => spec.apply(resolve))).toEqual({ replicas: 2 });
  });

  it("leave all others alone", () => {
    expect(transformed("docker:index/image:Image", { spec: 1 })).toBeUndefined();
    expect(transformed("kubernetes:core/v1:Namespace", { metadata: {} })).toBeUndefined();
  });
});
