import { setTimeout as sleep } from "node:timers/promises";
import yaml from "js-yaml";
import { afterAll, beforeAll, expect, it } from "vitest";
import { z } from "zod";
import { toYaml } from "../../common/yaml.ts";
import { kubectl } from "../../tools/kubectl.ts";
import type { UpReport } from "../../tools/up.ts";
import { make, writeStack } from "./make.ts";
import { CONSUMER, nameOf, PROVIDER, Scene, until } from "./scene.ts";

const NAMESPACE = "dubbo-traced";
/** Namespace of the collector. It has no sidecars, as is common for collectors. */
const COLLECTOR = "collector";
const PORT = 9411;
const HOST = `${COLLECTOR}.${COLLECTOR}.svc.cluster.local`;
/** Name of the trace provider in the mesh configuration. */
const PROVIDER_NAME = "e2e";
const WATCHED_MS = 30_000;

/** Receives Zipkin spans, and writes a line for each: its kind and the reporting service. */
const SCRIPT = `
require("node:http").createServer((request, response) => {
  let body = "";
  request.on("data", (data) => (body += data));
  request.on("end", () => {
    for (const { kind, localEndpoint } of JSON.parse(body)) console.log(kind, localEndpoint.serviceName);
    response.writeHead(202).end();
  });
}).listen(${PORT});`;

function collector(image: string): object[] {
  const labels = { app: COLLECTOR };
  const metadata = { name: COLLECTOR, namespace: COLLECTOR };
  const containers = [{ name: "app", image, command: ["node", "-e", SCRIPT] }];
  return [
    { apiVersion: "v1", kind: "Namespace", metadata: { name: COLLECTOR } },
    { apiVersion: "v1", kind: "Pod", metadata: { ...metadata, labels }, spec: { containers } },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata,
      spec: { selector: labels, ports: [{ name: "http", port: PORT }] },
    },
  ];
}

const meshConfig = z.looseObject({ extensionProviders: z.array(z.looseObject({ name: z.string() })) });

/** Adds the collector to the trace providers of the mesh, or removes it. */
async function setProvider(scene: Scene, there: boolean): Promise<void> {
  const istio = ["--namespace=istio-system", "configmap", "istio"];
  const text = await scene.kubectl("get", ...istio, "-o", "jsonpath={.data.mesh}");
  const mesh = meshConfig.parse(yaml.load(text));
  const others = mesh.extensionProviders.filter(({ name }) => name !== PROVIDER_NAME);
  const own = { name: PROVIDER_NAME, zipkin: { service: HOST, port: PORT } };
  const changed = { ...mesh, extensionProviders: there ? [...others, own] : others };
  const patch = JSON.stringify({ data: { mesh: toYaml(changed) } });
  await scene.kubectl("patch", ...istio, "--type=merge", "-p", patch);
}

/** Counts the spans so far, by kind and reporting service. */
async function spans(scene: Scene): Promise<ReadonlyMap<string, number>> {
  const log = await scene.kubectl(`--namespace=${COLLECTOR}`, "logs", COLLECTOR);
  const lines = log.split("\n").filter((line) => line !== "");
  return new Map([...new Set(lines)].map((line) => [line, lines.filter((each) => each === line).length]));
}

/** Returns the number of calls that the consumer's Envoy has forwarded so far. */
async function calls(scene: Scene): Promise<number> {
  const [pod] = await scene.mesh.pods(CONSUMER);
  const found = await scene.clusters(nameOf(pod));
  return found.flatMap(({ hosts }) => hosts).reduce((sum, { succeeded }) => sum + succeeded, 0);
}

let scene: Scene;

beforeAll(async () => {
  const stack = { namespace: NAMESPACE, consumer: { interval: "0.05s" } };
  writeStack(stack);
  const { outputs } = (await make<UpReport>("up", "JSON=1")).result;
  scene = await Scene.now();
  const { [CONSUMER]: image = "" } = z.record(z.string(), z.string()).parse(outputs["images"]);
  const list = { apiVersion: "v1", kind: "List", items: collector(image) };
  await kubectl(scene.settings, ["apply", "-f", "-"], JSON.stringify(list));
  await setProvider(scene, true);
  const tracing = { sampling: 50, provider: PROVIDER_NAME, service: HOST };
  writeStack({ ...stack, observability: { tracing }, security: { networkPolicy: true } });
  await make("up", "JSON=1");
});

afterAll(async () => {
  try {
    await make("down", "JSON=1");
  } finally {
    const there = await Scene.now();
    await setProvider(there, false);
    await there.kubectl("delete", "namespace", COLLECTOR, "--ignore-not-found");
  }
});

it("gets a span of each side for every second call, from the start of the pods", async () => {
  await scene.kubectl("rollout", "restart", "deployment");
  await scene.settled();
  const names = [`CLIENT ${CONSUMER}.${NAMESPACE}`, `SERVER ${PROVIDER}.${NAMESPACE}`];
  await until("both sides tell of calls", 60, async () => {
    const seen = await spans(scene);
    return names.every((name) => seen.has(name)) ? true : undefined;
  });
  const [before, callsBefore] = [await spans(scene), await calls(scene)];
  await sleep(WATCHED_MS);
  const [after, callsAfter] = [await spans(scene), await calls(scene)];
  const passed = callsAfter - callsBefore;
  const shares = names.map((name) => ((after.get(name) ?? 0) - (before.get(name) ?? 0)) / passed);
  process.stdout.write(
    `  figure  traced of ${passed} calls: ${shares.map((each) => each.toFixed(3)).join(", ")}\n`,
  );
  expect(passed).toBeGreaterThan(300);
  for (const share of shares) {
    expect(share).toBeGreaterThan(0.4);
    expect(share).toBeLessThan(0.6);
  }
  expect([...after.keys()].sort()).toEqual(names);
});
