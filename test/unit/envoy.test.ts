import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import type { Fields } from "../../policy/fields.ts";
import { checkedClusters } from "../configurations/envoy.ts";
import { stackObjects } from "./policy/support.ts";

/**
 * Clusters of the provider in the consumer's Envoy of a live stack canary (Istio 1.31, Envoy 1.40),
 * from its config_dump.
 */
const recorded = JSON.parse(
  readFileSync(new URL("recorded/clusters.json", import.meta.url), "utf8"),
) as readonly Fields[];

/** Fields about a cluster's origin and the names of its statistics. */
const ORIGIN = ["@type", "metadata", "alt_stat_name"];

function withoutOrigin(cluster: Fields): Fields {
  return Object.fromEntries(Object.entries(cluster).filter(([key]) => !ORIGIN.includes(key)));
}

it("computes the clusters that istiod generates from the same objects", async () => {
  const objects = await stackObjects("canary");
  const [filter] = objects.filter(({ kind }) => kind === "EnvoyFilter");
  if (filter === undefined) throw new Error("no EnvoyFilter");
  const clusters = checkedClusters(filter, objects);
  expect(clusters).toHaveLength(3);
  for (const cluster of clusters) {
    const live = recorded.find(({ name }) => name === cluster["name"]);
    expect(cluster).toEqual(withoutOrigin(live ?? {}));
  }
});
