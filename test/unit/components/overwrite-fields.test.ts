import type * as pulumi from "@pulumi/pulumi";
import { describe, expect, it } from "vitest";
import { overwriteFields } from "../../../components/overwrite-fields.ts";

describe("fields of other managers", () => {
  const transformed = (type: string, props: pulumi.Inputs): pulumi.Inputs | undefined =>
    // The resource itself does not matter.
    overwriteFields({ type, name: "n", props, opts: {} } as pulumi.ResourceTransformationArgs)?.props;

  it("are overwritten by Kubernetes objects, which keep their annotations", () => {
    const props = { metadata: { name: "a", annotations: { b: "c" } }, spec: {} };
    expect(transformed("kubernetes:apps/v1:Deployment", props)).toEqual({
      metadata: { name: "a", annotations: { b: "c", "pulumi.com/patchForce": "true" } },
      spec: {},
    });
  });

  it("are not overwritten by other resources", () => {
    expect(transformed("docker:index/image:Image", { metadata: {} })).toBeUndefined();
    expect(transformed("kubernetes:helm.sh/v3:Release", { name: "istiod" })).toBeUndefined();
  });
});
