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
    .describe(
      "STRICT: pods reject plaintext; PERMISSIVE: they accept it (default: STRICT if the sidecar is injected)",
    ),
  authorization: z
    .boolean()
    .optional()
    .describe(
      "allow only the identities of a service's callers, and only the health check and calls to its offers (default: true if the sidecar is injected)",
    ),
  identities: z
    .enum(["shared", "per-workload"])
    .default("shared")
    .describe(
      "shared: ServiceAccount dubbo-sa for all; per-workload: a ServiceAccount for each application, with its name",
    ),
  networkPolicy: z
    .boolean()
    .default(false)
    .describe(
      "allow only calls, metrics, DNS, istiod and traces on the pod network; needs a CNI that enforces it",
    ),
  defaultDeny: z
    .boolean()
    .default(false)
    .describe(
      "deny everything that no policy allows, in the whole namespace; needs authorization and networkPolicy",
    ),
  podSecurity: podSecurity
    .optional()
    .describe(
      "Pod Security level that the namespace enforces; baseline and restricted need Istio's CNI plugin, because istio-init has NET_ADMIN (default: the cluster's)",
    ),
});

/** Security settings after defaults. */
export type Security = Omit<z.infer<typeof securitySettings>, "mtls" | "authorization"> & {
  /** STRICT if pods reject plaintext. */
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
