import { z } from "zod";

/**
 * Pod Security levels.
 * Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
 */
const podSecurity = z.enum(["privileged", "baseline", "restricted"]);

/** Settings for mTLS, identities and permitted calls. */
export const securitySettings = z.strictObject({
  mtls: z
    .enum(["STRICT", "PERMISSIVE"])
    .optional()
    .describe("whether pods refuse plaintext (default: STRICT where the sidecar is injected)"),
  authorization: z
    .boolean()
    .optional()
    .describe(
      "let a service answer the identities of its callers alone, what it offers and the health check (default: where the sidecar is injected)",
    ),
  identities: z
    .enum(["shared", "per-workload"])
    .default("shared")
    .describe("shared: dubbo-sa for all; per-workload: a ServiceAccount each, of the application's name"),
  networkPolicy: z
    .boolean()
    .default(false)
    .describe(
      "let the pod network, too, pass the calls alone, with metrics, DNS, istiod and traces; needs a CNI that enforces it",
    ),
  defaultDeny: z
    .boolean()
    .default(false)
    .describe(
      "refuse whatever no policy allows, in the whole namespace; needs authorization and networkPolicy",
    ),
  podSecurity: podSecurity
    .optional()
    .describe(
      "Pod Security level that the namespace enforces; baseline and restricted need Istio's CNI plugin, since istio-init has NET_ADMIN (default: the cluster's)",
    ),
});

/** Security settings after defaults. */
export type Security = Omit<z.infer<typeof securitySettings>, "mtls" | "authorization"> & {
  /** STRICT if pods refuse plaintext. */
  mtls: "STRICT" | "PERMISSIVE";
  /** Lets a service answer only the identities of its callers. */
  authorization: boolean;
};

/**
 * Fills in the defaults that depend on injection. Without sidecars there is no mTLS and no
 * identity.
 */
export function securityOf(given: z.infer<typeof securitySettings>, injection: boolean): Security {
  const { mtls = injection ? "STRICT" : "PERMISSIVE", authorization = injection } = given;
  return { ...given, mtls, authorization };
}
