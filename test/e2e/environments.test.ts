import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import yaml from "js-yaml";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { UpReport } from "../../tools/up.ts";
import { CONFIRM, make, PROJECT_DIRECTORY, writeStack } from "./make.ts";
import { Scene } from "./scene.ts";
import { type Seen, Watch } from "./watch.ts";

/** Stacks of this project. */
type Environment = "dev" | "canary" | "staging" | "prod";

/** Keys for the location of a stack, which the test keeps constant. */
const PLACE = ["cluster", "context", "namespace", "registry"].map((key) => `dubbo-mesh:${key}`);

interface Application {
  readonly app?: string;
  readonly [key: string]: unknown;
}

/**
 * Returns the settings of a stack's file except its location. The consumer makes 20 calls per
 * second.
 */
function settingsOf(environment: Environment): Readonly<Record<string, unknown>> {
  const text = readFileSync(join(PROJECT_DIRECTORY, `Pulumi.${environment}.yaml`), "utf8");
  const { config } = yaml.load(text) as { config: Readonly<Record<string, unknown>> };
  const given = Object.entries(config).filter(([key]) => !PLACE.includes(key));
  const settings = Object.fromEntries(given.map(([key, value]) => [key.replace("dubbo-mesh:", ""), value]));
  const services = (settings["services"] ?? [{ app: "provider" }, { app: "consumer" }]) as Application[];
  const faster = services.map((each) => (each.app === "consumer" ? { ...each, interval: "0.05s" } : each));
  return { ...settings, services: faster };
}

/** Kinds of the objects that a stack makes, without pods and objects that Kubernetes derives. */
const KINDS = [
  "serviceaccounts",
  "roles",
  "rolebindings",
  "services",
  "deployments",
  "poddisruptionbudgets",
  "horizontalpodautoscalers",
  "networkpolicies",
  "virtualservices",
  "destinationrules",
  "sidecars",
  "envoyfilters",
  "peerauthentications",
  "authorizationpolicies",
  "telemetries",
];

async function up(environment: Environment): Promise<void> {
  writeStack({ namespace: "dubbo-environments", ...settingsOf(environment) });
  // CONFIRM, because leaving canary removes a version with a fifth of the calls.
  await make<UpReport>("up", "JSON=1", CONFIRM);
  await (await Scene.now()).settled();
}

/** Returns the uids of the namespace and of the stack's objects, by kind and name. */
async function uids(scene: Scene): Promise<Map<string, string>> {
  const { namespace } = scene.settings;
  const row = "{range .items[*]}{.kind}/{.metadata.name} {.metadata.uid}{'\\n'}{end}".replaceAll("'", '"');
  const found = await scene.kubectl("get", KINDS.join(","), "-o", `jsonpath=${row}`);
  const own = await scene.kubectl("get", "namespace", namespace, "-o", "jsonpath={.metadata.uid}");
  const rows = found.split("\n").filter((line) => line !== "");
  return new Map([["Namespace", own], ...rows.map((line) => line.split(" ") as [string, string])]);
}

/** Effect of a change of environment on the objects of the stack. */
interface Moved {
  readonly kept: number;
  readonly replaced: readonly string[];
  readonly added: readonly string[];
  readonly removed: readonly string[];
}

function compare(before: ReadonlyMap<string, string>, after: ReadonlyMap<string, string>): Moved {
  const both = [...before.keys()].filter((key) => after.has(key));
  const replaced = both.filter((key) => before.get(key) !== after.get(key));
  return {
    kept: both.length - replaced.length,
    replaced,
    added: [...after.keys()].filter((key) => !before.has(key)),
    removed: [...before.keys()].filter((key) => !after.has(key)),
  };
}

async function move(from: Environment, to: Environment): Promise<Seen & Moved> {
  const before = await Scene.now();
  const objects = await uids(before);
  const watch = await Watch.begin(before);
  await up(to);
  await sleep(2000);
  const seen = { ...(await watch.end()), ...compare(objects, await uids(await Scene.now())) };
  const summary = {
    ...seen,
    failed: seen.failed.length,
    firstFailed: seen.failed[0],
    waits: seen.waits.length,
  };
  process.stdout.write(`  figure  ${from} to ${to}: ${JSON.stringify(summary)}\n`);
  return seen;
}

/** Order of the environments: every change from one to another. */
const WALK: readonly Environment[] = [
  ...(["dev", "canary", "staging", "prod", "dev", "staging", "canary"] as const),
  ...(["prod", "staging", "dev", "prod", "canary", "dev"] as const),
];
const MOVES = WALK.slice(1).map((to, index): [Environment, Environment] => [WALK[index] ?? to, to]);

beforeAll(async () => {
  await up("dev");
});

afterAll(async () => {
  await make("down", CONFIRM);
});

describe("with the same namespace and names", () => {
  it("there are twelve changes", () => {
    expect(new Set(MOVES.map((move) => move.join(" "))).size).toBe(12);
  });

  it.each(MOVES)("%s becomes %s without replacing an object", async (from, to) => {
    const seen = await move(from, to);
    expect(seen.replaced).toEqual([]);
    expect(seen.kept).toBeGreaterThan(10);
    expect(seen.unaccounted).toBe(0);
    expect(seen.answered).toBeGreaterThan(5 * seen.seconds);
    expect(seen.failed).toEqual([]);
  });
});
