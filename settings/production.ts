import type { Given } from "./keys.ts";
import { servicesOf, type Service } from "./graph.ts";
import { fewest } from "./scale.ts";
import { securityOf } from "./security.ts";

/** Reports a fault of the key at `path`. */
type Report = (path: (string | number)[], message: string) => void;

/** Values that production requires of `security`, each with the consequence of another value. */
const STRONG = [
  ["mtls", "STRICT", "pods would take plaintext"],
  ["authorization", true, "any pod of the mesh could call"],
  ["identities", "per-workload", "each application could call whatever another one may"],
  ["networkPolicy", true, "pods without a sidecar could reach them"],
  ["defaultDeny", true, "what no policy names would be allowed"],
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
    if (weight === 0 || fewest(scale) >= 2) continue;
    const key = scale.autoscale === undefined ? ["replicas"] : ["autoscale", "min"];
    report(
      ["versions", index, ...key],
      `is ${fewest(scale)}, but production needs 2: nobody would answer for one that ends`,
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
    report(["injection"], "is false, but production needs the sidecar: there would be no mesh");
  else rejectWeakSecurity(given, report);
  for (const [index, service] of servicesOf(given).entries()) {
    for (const check of [rejectSinglePods, rejectImageTags]) {
      check(service, (path, message) => {
        report(["services", index, ...path], message);
      });
    }
  }
}
