import type { Given } from "./keys.ts";
import { servicesOf, type Service } from "./graph.ts";
import { minReplicas } from "./scale.ts";
import { securityOf } from "./security.ts";

/** Reports a fault of the key at `path`. */
type Report = (path: (string | number)[], message: string) => void;

/** Values that production requires of `security`, each with the consequence of another value. */
const STRONG = [
  ["mtls", "STRICT", "pods would accept plaintext"],
  ["authorization", true, "any pod of the mesh could call the services"],
  ["identities", "per-workload", "each application would have the rights of all applications"],
  ["networkPolicy", true, "pods without a sidecar could reach the services"],
  ["defaultDeny", true, "traffic without a policy would be allowed"],
] as const;

function rejectWeakSecurity({ security, injection }: Given, report: Report): void {
  const chosen = securityOf(security, injection);
  for (const [key, strong, otherwise] of STRONG) {
    if (chosen[key] === strong) continue;
    report(
      ["security", key],
      `is ${String(chosen[key])}, but production needs ${String(strong)}: ${otherwise}`,
    );
  }
}

/**
 * Rejects single pods. A service needs a second pod while the first one is replaced or its node
 * drains.
 */
function rejectSinglePods({ offers, versions }: Service, report: Report): void {
  if (offers.length === 0) return;
  for (const [index, { weight, ...scale }] of versions.entries()) {
    if (weight === 0 || minReplicas(scale) >= 2) continue;
    const key = scale.autoscale === undefined ? ["replicas"] : ["autoscale", "min"];
    report(
      ["versions", index, ...key],
      `is ${minReplicas(scale)}, but production needs 2: calls fail while a single pod restarts`,
    );
  }
}

/** Rejects image tags: a tag may move to an image that was never tested. */
function rejectImageTags({ versions }: Service, report: Report): void {
  for (const [index, { image }] of versions.entries()) {
    if (image === undefined || image.includes("@sha256:")) continue;
    report(
      ["versions", index, "image"],
      `is ${image}, but production needs a digest (NAME@sha256:...): a tag may change`,
    );
  }
}

/** Rejects settings that are too weak for a stack with `production: true`. */
export function rejectWeakProduction(given: Given, report: Report): void {
  if (!given.production) return;
  if (!given.injection)
    report(["injection"], "is false, but production needs sidecars: without them there is no mesh");
  else rejectWeakSecurity(given, report);
  for (const [index, service] of servicesOf(given).entries()) {
    for (const check of [rejectSinglePods, rejectImageTags]) {
      check(service, (path, message) => {
        report(["services", index, ...path], message);
      });
    }
  }
}
