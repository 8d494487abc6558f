import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";

const keys = z.array(z.string());

/**
 * Tells whether the stack's configuration has encrypted values. The engine passes them in plain
 * text, and lists their keys.
 * Source: runtime/config.ts of @pulumi/pulumi
 */
export function hasSecrets(environment: Readonly<Record<string, string | undefined>>): boolean {
  const said = environment["PULUMI_CONFIG_SECRET_KEYS"];
  return said !== undefined && said !== "" && keys.parse(JSON.parse(said)).length > 0;
}

/**
 * Marks the spec of a Kubernetes object as secret. The state then holds it encrypted, and previews
 * show `[secret]`. The transformation cannot tell which parts of the spec come from an encrypted
 * value.
 */
export const hideSpec: pulumi.ResourceTransformation = ({ type, props, opts }) => {
  const { spec, ...others } = props as Readonly<Record<string, unknown>>;
  if (!type.startsWith("kubernetes:") || spec === undefined) return undefined;
  return { props: { ...others, spec: pulumi.secret(spec) }, opts };
};
