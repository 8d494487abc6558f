import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";

const keys = z.array(z.string());

/**
 * Whether the stack's configuration holds encrypted values. The engine hands these over in plain, and says beside them which they are.
 * Source: runtime/config.ts of @pulumi/pulumi
 */
export function hasSecrets(environment: Readonly<Record<string, string | undefined>>): boolean {
  const said = environment["PULUMI_CONFIG_SECRET_KEYS"];
  return said !== undefined && said !== "" && keys.parse(JSON.parse(said)).length > 0;
}

/**
 * Makes the spec of a Kubernetes object a secret: the state then holds it encrypted, and previews show it as `[secret]`. What has become of an
 * encrypted value, such as a property in a container's environment, is not told apart.
 */
export const hideSpec: pulumi.ResourceTransformation = ({ type, props, opts }) => {
  const { spec, ...others } = props as Readonly<Record<string, unknown>>;
  if (!type.startsWith("kubernetes:") || spec === undefined) return undefined;
  return { props: { ...others, spec: pulumi.secret(spec) }, opts };
};
