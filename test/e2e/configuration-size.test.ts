import { afterAll, beforeAll, expect, it } from "vitest";
import { setTimeout as sleep } from "node:timers/promises";
import { z } from "zod";
import { type KubernetesObject } from "../../common/kubernetes-object.ts";
import { runProgram } from "../../tools/engine/program.ts";
import { step } from "../../common/steps.ts";
import { kubectl } from "../../tools/kubectl.ts";
import { LiveMesh } from "../../tools/mesh.ts";
import { readStackFile } from "../../stack/stack-file.ts";
import { askProxy } from "../../tools/verify/proxy.ts";
import type { Settings } from "../../settings/settings.ts";
import { make, pairOf, PROJECT_DIRECTORY, STACK, writeStack } from "./make.ts";

const NAMESPACE = "dubbo-size";
/** Number of services besides the pair; 200 in all. */
const OTHERS = 198;
/** A connect timeout that no other configuration uses. */
const MARK = "2.345s";
/** Time in which istiod must distribute a change of 200 services, ms. */
const PUSH_LIMIT_MS = 60_000;
/**
 * Kinds that istiod sends to the proxies of other services.
 * The other objects of a service concern its own pods only. The test starts none: 198 services are
 * too many for one machine.
 */
const TOLD = ["Service", "DestinationRule", "VirtualService"];

const configDump = z.object({
  configs: z.array(
    z.looseObject({
      "@type": z.string(),
      dynamic_active_clusters: z.array(z.unknown()).default([]),
      dynamic_listeners: z.array(z.unknown()).default([]),
      dynamic_route_configs: z.array(z.unknown()).default([]),
    }),
  ),
});

/** Size of a proxy's configuration. */
interface Size {
  readonly bytes: number;
  /** True if the proxy has the last change. */
  readonly marked: boolean;
  readonly clusters: number;
  readonly listeners: number;
  readonly routes: number;
}

function sizeOf(dump: string): Size {
  const { configs } = configDump.parse(JSON.parse(dump));
  const count = (key: "dynamic_active_clusters" | "dynamic_listeners" | "dynamic_route_configs"): number =>
    configs.reduce((sum, config) => sum + config[key].length, 0);
  return {
    bytes: dump.length,
    marked: dump.includes(MARK),
    clusters: count("dynamic_active_clusters"),
    listeners: count("dynamic_listeners"),
    routes: count("dynamic_route_configs"),
  };
}

/** Returns the sizes for the first consumer pod and the first provider pod. */
async function sizes(settings: Settings): Promise<Size[]> {
  const mesh = new LiveMesh(settings);
  const { provider, consumer } = pairOf(settings);
  return Promise.all(
    [consumer, provider].map(async ({ name }) => {
      const [pod] = await mesh.pods(name);
      return sizeOf(await askProxy(mesh, pod?.metadata?.name ?? "", "config_dump"));
    }),
  );
}

/** Waits until the sizes match, and returns them. */
async function sizesOnce(settings: Settings, wanted: (seen: readonly Size[]) => boolean): Promise<Size[]> {
  const end = performance.now() + PUSH_LIMIT_MS;
  for (;;) {
    const seen = await sizes(settings);
    if (wanted(seen)) return seen;
    if (performance.now() > end) throw new Error(`the proxies were not told: ${JSON.stringify(seen)}`);
    await sleep(1000);
  }
}

/** Returns the objects of a mesh with 200 services, made from one stack entry each. */
async function objectsOfAll(): Promise<readonly KubernetesObject[]> {
  const file = await readStackFile(PROJECT_DIRECTORY, STACK);
  const others = Array.from({ length: OTHERS }, (_, index) => ({
    name: `other-${index}`,
    image: "other:1",
    port: 50_052,
    offers: [`org.example.Other${index}`],
    // Each service calls the previous one.
    calls: index === 0 ? [] : [`other-${index - 1}`],
  }));
  const services = JSON.stringify([{ app: "provider" }, { app: "consumer" }, ...others]);
  return (await runProgram({ ...file, raw: { ...file.raw, services } })).objects;
}

function show(what: string, [consumer, provider]: readonly Size[]): void {
  process.stdout.write(`  figure  ${what}: ${JSON.stringify({ consumer, provider })}\n`);
}

let settings: Settings;

async function apply(objects: readonly KubernetesObject[]): Promise<void> {
  const list = JSON.stringify({ apiVersion: "v1", kind: "List", items: objects });
  await kubectl(settings, ["apply", "--server-side", "--field-manager=size", "-f", "-"], list);
}

beforeAll(async () => {
  writeStack({ namespace: NAMESPACE });
  await make("up", "JSON=1");
  ({ settings } = await readStackFile(PROJECT_DIRECTORY, STACK));
});

afterAll(async () => {
  await make("down", "JSON=1");
});

it("sends the pair's proxies no more in a mesh of 200 services than in one of 2", async () => {
  const alone = await sizes(settings);
  show("proxies of 2 services", alone);
  const objects = await objectsOfAll();
  const others = TOLD.flatMap((told) =>
    objects.filter(({ kind, metadata }) => kind === told && metadata.name.startsWith("other-")),
  );
  // Each service has two DestinationRules: the second one is for its only version.
  expect(others).toHaveLength((TOLD.length + 1) * OTHERS);
  await step(`apply ${others.length} objects`, () => apply(others));
  const { provider, consumer } = pairOf(settings);
  // istiod merges changes and sends them in order. A consumer that has the last change has the
  // others too.
  const mark = { op: "add", path: "/spec/trafficPolicy/connectionPool/tcp/connectTimeout", value: MARK };
  const rule = ["destinationrules.networking.istio.io", provider.name, "-n", NAMESPACE];
  await kubectl(settings, ["patch", ...rule, "--type=json", "-p", JSON.stringify([mark])]);
  const scoped = await step("wait for the last change", () =>
    sizesOnce(settings, ([first]) => first?.marked === true),
  );
  show("proxies of 200 services", scoped);
  // Without their Sidecar objects both proxies receive everything, so the test can fail.
  await kubectl(settings, [
    "delete",
    "sidecars.networking.istio.io",
    "-n",
    NAMESPACE,
    provider.name,
    consumer.name,
  ]);
  const unscoped = await step("wait for what the scopes keep away", () =>
    sizesOnce(settings, (seen) => seen.every(({ clusters }) => clusters > OTHERS)),
  );
  show("proxies of 200 services without scopes", unscoped);
  const ratios = scoped.map(({ bytes }, index) => bytes / (alone[index]?.bytes ?? 0));
  process.stdout.write(
    `  figure  200 services to 2: ${ratios.map((ratio) => ratio.toFixed(3)).join(", ")}\n`,
  );
  for (const ratio of ratios) {
    expect(ratio).toBeLessThan(1.1);
    expect(ratio).toBeGreaterThan(0.9);
  }
});
