import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { logger } from "dubbo-node/logger";
import { DubboReference } from "dubbo-node/reference";
import { Relay } from "../../apps/gen/relay_pb.ts";
import { forwarded } from "../../tools/forward.ts";
import { LiveMesh } from "../../tools/mesh.ts";
import { readStackFile } from "../../stack/stack-file.ts";
import type { Preview } from "../../tools/engine/engine.ts";
import type { UpReport } from "../../tools/up.ts";
import { CONFIRM, make, PROJECT_DIRECTORY, STACK, writeStack } from "./make.ts";

const PAIR = [{ app: "provider" }, { app: "consumer" }];
const RELAY = "dubbo-samples-mesh-relay";

function writeServices(...further: object[]): void {
  writeStack({
    namespace: "dubbo-services",
    security: { identities: "per-workload" },
    services: [...PAIR, ...further],
  });
}

/** Runs `work` with a local address that is forwarded to the first pod of a service. */
async function intoPod<T>(service: string, port: number, work: (address: string) => Promise<T>): Promise<T> {
  const { settings } = await readStackFile(PROJECT_DIRECTORY, STACK);
  const [pod] = await new LiveMesh(settings).pods(service);
  return forwarded(settings, pod?.metadata?.name ?? "", port, work);
}

beforeAll(async () => {
  writeServices();
  await make<UpReport>("up", "JSON=1");
});

afterAll(async () => {
  await make("down");
});

describe("a third service", () => {
  it("is added by one entry, with its checks, rules and identity", async () => {
    writeServices({ app: "relay", replicas: 1 });
    const { result } = await make<UpReport>("up", "JSON=1");
    const changes = result.changes.map(({ operation, target }) => `${operation} ${target}`);
    const made = (change: string): boolean => change.startsWith("create ") && change.includes(RELAY);
    // Only the RBAC binding of an existing object changes: each caller has a separate policy for
    // its calls to the provider.
    const others = changes.filter((change) => !made(change));
    expect(others).toEqual([
      "update kubernetes:rbac.authorization.k8s.io/v1:RoleBinding mesh-namespace-role-binding",
    ]);
    expect(changes).toContain(
      `create kubernetes:security.istio.io/v1:AuthorizationPolicy mesh-security-dubbo-samples-mesh-provider.${RELAY}-calls`,
    );
    expect(result.outputs["envoyFilterNames"]).toEqual({
      "dubbo-samples-mesh-consumer": "cluster",
      [RELAY]: `cluster-${RELAY}`,
    });
  });

  it("calls the provider through the mesh, under its own identity", async () => {
    const reply = await intoPod(RELAY, 50053, async (target) => {
      const relay = new DubboReference(Relay, {
        target,
        consumer: "e2e",
        timeout: 10_000,
        log: logger("e2e"),
      });
      try {
        return await relay.call.relay({ name: "relay" });
      } finally {
        relay.close();
      }
    });
    expect(reply.via).toBe(RELAY);
    expect(reply.message).toMatch(
      /^hello,relay, response from provider: [\d.]+:50052, .* remote: dubbo-samples-mesh-relay,/,
    );
  });

  it("passes verify, with separate checks for each edge", async () => {
    const { result } = await make<{ ok: boolean; checks: { of: string }[] }>("verify", "JSON=1");
    expect(result.ok).toBe(true);
    const edges = new Set(result.checks.flatMap(({ of }) => /^(.* to .*): /.exec(of)?.[1] ?? []));
    expect([...edges]).toEqual([
      "dubbo-samples-mesh-consumer to dubbo-samples-mesh-provider",
      "dubbo-samples-mesh-relay to dubbo-samples-mesh-provider",
    ]);
  });

  it("is not removed without confirmation", async () => {
    writeServices();
    const { result: preview } = await make<Preview>("preview", "JSON=1");
    expect(preview.warnings).toEqual([
      {
        target: `Service/${RELAY}`,
        text: `${RELAY} cannot be called any more; no service of the stack calls it, but others may.`,
      },
    ]);
    await expect(make("up", "JSON=1")).rejects.toThrow(
      '"fix":"Run `make up STACK=e2e CONFIRM=e2e` to confirm."',
    );
    const { settings } = await readStackFile(PROJECT_DIRECTORY, STACK);
    expect(await new LiveMesh(settings).pods(RELAY)).toHaveLength(1);
  });

  it("is removed with its entry, and nothing else is", async () => {
    const { result } = await make<UpReport>("up", "JSON=1", CONFIRM);
    const changes = result.changes.map(({ operation, target }) => `${operation} ${target}`);
    const gone = (change: string): boolean => change.startsWith("delete ") && change.includes(RELAY);
    expect(changes.filter((change) => !gone(change))).toHaveLength(1);
    expect(changes.filter(gone).length).toBeGreaterThan(5);
  });
});
