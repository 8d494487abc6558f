import { type Check, count, list } from "./check.ts";
import { clusterName, type Expected, shortName, subsetOf } from "./expected.ts";
import { minReplicas, maxReplicas, type Scale } from "../../settings/scale.ts";
import type { CallerSample, MeshSample, PodSample } from "./sample.ts";

function podText({ readyContainers, containers, sidecar, restarts }: PodSample): string {
  return `${readyContainers}/${containers} (${sidecar ?? "no istio-proxy"}), restarts ${restarts}`;
}

function isUp({ readyContainers, containers, sidecar }: PodSample): boolean {
  return sidecar !== undefined && readyContainers === containers;
}

function readiness(deployment: string, pods: readonly PodSample[], scale: Scale): Check {
  const [least, greatest] = [minReplicas(scale), maxReplicas(scale)];
  const wanted = least === greatest ? count(least, "pod") : `${least} to ${count(greatest, "pod")}`;
  const texts = new Set(pods.map(podText));
  const [text = "none"] = texts;
  const down = pods.filter((pod) => !isUp(pod));
  const details = (down.length === 0 ? pods : down).map((pod) => `${pod.name} ${podText(pod)}`);
  return {
    check: "ready",
    of: deployment,
    seen: `${count(pods.length, "pod")}: ${texts.size > 1 ? list(details) : text}`,
    expected: `${wanted}, all containers ready, with istio-proxy`,
    ok: pods.length >= least && pods.length <= greatest && down.length === 0,
  };
}

/** Checks each Deployment: the configured number of pods, all containers ready, and a sidecar. */
export function readinessChecks({ deployments }: Expected, { providers, consumers }: MeshSample): Check[] {
  return deployments.map(({ deployment, side, version: wanted, scale }) => {
    const pods = side === "provider" ? providers : consumers;
    return readiness(
      deployment,
      pods.filter(({ version }) => version === wanted),
      scale,
    );
  });
}

function difference(
  found: readonly string[],
  wanted: readonly string[],
): { missing: string[]; unknown: string[] } {
  return {
    missing: wanted.filter((address) => !found.includes(address)),
    unknown: found.filter((address) => !wanted.includes(address)),
  };
}

function addressCheck(of: string, found: readonly string[], wanted: readonly string[]): Check {
  const { missing, unknown } = difference(found, wanted);
  return {
    check: "addresses",
    of,
    seen: [
      found.length === 0 ? "none" : list(found),
      ...(missing.length === 0 ? [] : [`missing ${list(missing)}`]),
      ...(unknown.length === 0 ? [] : [`no ready pod at ${list(unknown)}`]),
    ].join("; "),
    expected: `the ${count(wanted.length, "ready pod")} of Kubernetes`,
    ok: missing.length === 0 && unknown.length === 0,
  };
}

/**
 * Checks that the endpoints of each of the callee's clusters are its ready pods. Istio also passes
 * on the other pods, marked as unhealthy.
 */
export function addressChecks(
  expected: Expected,
  { providers }: MeshSample,
  caller: CallerSample,
  prefix: string,
): Check[] {
  const needed = expected.versions.map(({ name }) => clusterName(expected, name));
  const names = new Set([...caller.clusters.map(({ name }) => name), ...needed]);
  return [...names].sort().map((name) => {
    const subset = subsetOf(name);
    const wanted = providers
      .filter(({ ready, version }) => ready && (subset === "" || version === subset))
      .map(({ ip }) => `${ip ?? "?"}:${expected.port}`)
      .sort();
    const hosts = caller.clusters.find((cluster) => cluster.name === name)?.hosts ?? [];
    return addressCheck(
      prefix + shortName(name),
      hosts.filter(({ discovered }) => discovered).map(({ address }) => address),
      wanted,
    );
  });
}
