import type * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { overwriteFields } from "../../../components/overwrite-fields.ts";

describe("fields that other managers have set", () => {
  const transformed = (type: string, props: pulumi.Inputs): pulumi.Inputs | undefined =>
    // Which resource it is makes no difference.
    overwriteFields({ type, name: "n", props, opts: {} } as pulumi.ResourceTransformationArgs)?.props;

  it("are overwritten by each Kubernetes object, which keeps its own annotations", () => {
    const props = { metadata: { name: "a", annotations: { b: "c" } }, spec: {} };
    expect(transformed("kubernetes:apps/v1:Deployment", props)).toEqual({
      metadata: { name: "a", annotations: { b: "c", "pulumi.com/patchForce": "true" } },
      spec: {},
    });
  });

  it("are left alone by all other resources", () => {
    expect(transformed("docker:index/image:Image", { metadata: {} })).toBeUndefined();
    expect(transformed("kubernetes:helm.sh/v3:Release", { name: "istiod" })).toBeUndefined();
  });
});
