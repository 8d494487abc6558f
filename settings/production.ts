import type { Given } from "./keys.ts";
import { servicesOf, type Service } from "./graph.ts";
import { fewest } from "./scale.ts";
import { securityOf } from "./security.ts";

/** Reports a fault of the key at `path`. */
type Refuse = (path: (string | number)[], message: string) => void;

/** Values that production requires of `security`, each with the consequence of another value. */
const STRONG = [
  ["mtls", "STRICT", "pods would take plaintext"],
  ["authorization", true, "any pod of the mesh could call"],
  ["identities", "per-workload", "each application could call whatever another one may"],
  ["networkPolicy", true, "pods without a sidecar could reach them"],
  ["defaultDeny", true, "what no policy names would be allowed"],
] as const;

function refuseWeakSecurity({ security, injection }: Given, refuse: Refuse): void {
  const chosen = securityOf(security, injection);
  for (const [key, strong, otherwise] of STRONG) {
    if (chosen[key] === strong) continue;
    refuse(
      ["security", key],
      `is ${String(chosen[key])}, but production needs ${String(strong)}: ${otherwise}`,
    );
  }
}

/**
 * Rejects single pods. A service needs a second pod while the first one is replaced or its node
 * drains.
 */
function refuseSinglePods({ offers, versions }: Service, refuse: Refuse): void {
  if (offers.length === 0) return;
  for (const [index, { weight, ...scale }] of versions.entries()) {
    if (weight === 0 || fewest(scale) >= 2) continue;
    const key = scale.autoscale === undefined ? ["replicas"] : ["autoscale", "min"];
    refuse(
      ["versions", index, ...key],
      `is ${fewest(scale)}, but production needs 2: nobody would answer for one that ends`,
    );
  }
}

/** Rejects image tags: a tag may move to an image that was never tested. */
function refuseTags({ versions }: Service, refuse: Refuse): void {
  for (const [index, { image }] of versions.entries()) {
    if (image === undefined || image.includes("@sha256:")) continue;
    refuse(
      ["versions", index, "image"],
      `is ${image}, but production needs a digest (NAME@sha256:...): a tag may change`,
    );
  }
}

/** Rejects settings that are too weak for a stack with `production: true`. */
export function refuseWeakProduction(given: Given, refuse: Refuse): void {
  if (!given.production) return;
  if (!given.injection)
    refuse(["injection"], "is false, but production needs the sidecar: there would be no mesh");
  else refuseWeakSecurity(given, refuse);
  for (const [index, service] of servicesOf(given).entries()) {
    for (const check of [refuseSinglePods, refuseTags]) {
      check(service, (path, message) => {
        refuse(["services", index, ...path], message);
      });
    }
  }
}
