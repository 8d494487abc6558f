import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, it } from "vitest";
import { parseSettings, type Settings } from "../../../settings/settings.ts";
import type { FoundPromotion, Promoted } from "../../../stack/promotion.ts";
import { foundPromotion, PromotionLease, rejectRunning } from "../../../tools/promote/lease.ts";
import { userError } from "../tools/user-error.ts";

interface Lease {
  metadata: { name: string; annotations: Record<string, string>; resourceVersion?: string };
  spec: { holderIdentity: string };
}

const PATH = "/apis/coordination.k8s.io/v1/namespaces/dubbo-demo/leases";
const PROMOTED: Promoted = { service: "greeter", version: "v2", from: { v1: 100, v2: 0 }, held: 0 };

/** Runs `work` with an API server that keeps one Lease, or that answers `code` to each change. */
async function withServer(
  work: (settings: Settings, lease: () => Lease | undefined) => Promise<void>,
  code?: number,
): Promise<void> {
  let lease: Lease | undefined;
  let version = 0;
  const changed = (method: string, body: string): number => {
    if (code !== undefined) return code;
    if (method === "DELETE") {
      if (lease === undefined) return 404;
      lease = undefined;
      return 200;
    }
    const given = JSON.parse(body) as Lease;
    if (method === "POST" && lease !== undefined) return 409;
    if (method === "PUT" && given.metadata.resourceVersion !== lease?.metadata.resourceVersion) return 409;
    version += 1;
    const metadata = {
      ...given.metadata,
      resourceVersion: String(version),
      creationTimestamp: "2026-11-29T10:00:00Z",
    };
    lease = { ...given, metadata };
    return 200;
  };
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      const { method = "", url = "" } = request;
      expect(url.replace(/\/dubbo-mesh-promotion$/, "")).toBe(PATH);
      const status = method === "GET" ? (lease === undefined ? 404 : 200) : changed(method, body);
      const failure = { kind: "Status", message: "no", code: status };
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(status === 200 ? (lease ?? { kind: "Status" }) : failure));
    });
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const kubeconfig = join(mkdtempSync(join(tmpdir(), "dubbo-mesh-test-")), "kubeconfig");
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  writeFileSync(
    kubeconfig,
    `clusters: [{ name: c, cluster: { server: "${address}", insecure-skip-tls-verify: true } }]\nusers: [{ name: u, user: {} }]\n` +
      "contexts: [{ name: x, context: { cluster: c, user: u } }]\n",
  );
  const services = '[{"app":"provider","image":"r/p:1"},{"app":"consumer","image":"r/c:1"}]';
  try {
    await work(parseSettings({ context: "x", kubeconfig, services }), () => lease);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

afterEach(() => {
  delete process.env["DUBBO_MESH_PROMOTION"];
});

describe("the Lease of a promotion", () => {
  it("is taken, notes each step, and is released; its holder is in the environment meanwhile", async () => {
    await withServer(async (settings, stored) => {
      expect(await foundPromotion(settings)).toBeUndefined();
      const lease = new PromotionLease(settings);
      await lease.take(PROMOTED);
      const found = await foundPromotion(settings);
      expect(found).toEqual({
        ...PROMOTED,
        holder: process.env["DUBBO_MESH_PROMOTION"],
        since: "2026-11-29T10:00:00Z",
        resourceVersion: "1",
      });
      expect(found?.holder).toMatch(new RegExp(`^${hostname()} ${process.pid} [0-9a-f-]{36}$`));
      // Only these fields are kept of a plan.
      await lease.hold({ ...PROMOTED, held: 25, callers: [] } as Promoted);
      expect(JSON.parse(stored()?.metadata.annotations["dubbo-mesh/promoted"] ?? "")).toEqual({
        ...PROMOTED,
        held: 25,
      });
      await lease.release();
      expect(stored()).toBeUndefined();
      expect(process.env["DUBBO_MESH_PROMOTION"]).toBeUndefined();
    });
  });

  it("has one holder; another one can only take over what it has found", async () => {
    await withServer(async (settings) => {
      const first = new PromotionLease(settings);
      await first.take(PROMOTED);
      const other = new PromotionLease(settings);
      const taken = {
        message: "another process has taken over the promotion in namespace dubbo-demo",
        fix: "Wait until it ends, then run the command again.",
      };
      expect(await userError(other.take(PROMOTED))).toEqual(taken);
      const found = await foundPromotion(settings);
      await first.hold({ ...PROMOTED, held: 5 });
      expect(await userError(other.take(PROMOTED, found))).toEqual(taken);
      await other.take(PROMOTED, await foundPromotion(settings));
      expect(await userError(first.hold({ ...PROMOTED, held: 25 }))).toEqual(taken);
      await other.release();
      expect(await userError(first.release())).toEqual(taken);
    });
  });

  it("needs rights", async () => {
    await withServer(async (settings) => {
      const { message, fix } = await userError(new PromotionLease(settings).take(PROMOTED));
      expect(message).toMatch(/^the promotion's Lease in namespace dubbo-demo cannot be written: .*403/);
      expect(fix).toBe(
        "Check that the context may create, update and delete Leases (kubectl auth can-i create leases).",
      );
    }, 403);
  });
});

describe("a promotion that was found", () => {
  const found = (holder: string): FoundPromotion => ({
    ...PROMOTED,
    holder,
    since: "2026-11-29T10:00:00Z",
    resourceVersion: "1",
  });

  it("is under way while its process runs on this machine", async () => {
    const own = found(`${hostname()} ${process.pid} x`);
    expect(await userError(Promise.resolve(own).then(rejectRunning))).toEqual({
      message: `a promotion is under way: v2 of greeter (process ${process.pid} on ${hostname()}, since 2026-11-29T10:00:00Z)`,
      fix: "Wait until it ends, or stop it (Ctrl-C), which puts the weights back.",
    });
  });

  it("was interrupted if its process has ended, or is unknown on another machine", () => {
    // Linux gives no process this id.
    for (const holder of [`${hostname()} 4194305 x`, `other-${hostname()} ${process.pid} x`]) {
      expect(() => {
        rejectRunning(found(holder));
      }).not.toThrow();
    }
  });
});
