import type { RequestListener } from "node:http";
import { hostname } from "node:os";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { parseSettings, type Settings } from "../../../settings/settings.ts";
import type { PromotionRecord } from "../../../stack/promotion.ts";
import { foundPromotion, PromotionLease, rejectRunning } from "../../../tools/promote/lease.ts";
import { withApiServer } from "../api-server.ts";
import { userError } from "../tools/user-error.ts";

// Waits between tries pass at once.
vi.mock("node:timers/promises", () => ({ setTimeout: () => Promise.resolve() }));

interface Lease {
  metadata: { name: string; annotations: Record<string, string>; resourceVersion?: string };
  spec: { holderIdentity: string };
}

const PATH = "/apis/coordination.k8s.io/v1/namespaces/dubbo-demo/leases";
const PROMOTED: PromotionRecord = { service: "greeter", version: "v2", from: { v1: 100, v2: 0 }, held: 0 };

/** Runs `work` with an API server that keeps a Lease. Its first answers are `failures`, by verb. */
async function withServer(
  work: (settings: Settings, lease: () => Lease | undefined) => Promise<void>,
  failures: Record<string, number[]> = {},
): Promise<void> {
  let lease: Lease | undefined;
  let version = 0;
  const changed = (method: string, body: string): number => {
    if (method === "DELETE") {
      if (lease === undefined) return 404;
      const { preconditions } = JSON.parse(body) as { preconditions: { resourceVersion: string } };
      if (preconditions.resourceVersion !== lease.metadata.resourceVersion) return 409;
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
  const answer: RequestListener = (request, response) => {
    void text(request).then((body) => {
      const { method = "", url = "" } = request;
      expect(url.replace(/\/dubbo-mesh-promotion$/, "")).toBe(PATH);
      const stored = lease === undefined ? 404 : 200;
      const status = failures[method]?.shift() ?? (method === "GET" ? stored : changed(method, body));
      const failure = { kind: "Status", message: "no", code: status };
      response.writeHead(status, { "content-type": "application/json" });
      response.end(JSON.stringify(status === 200 ? (lease ?? { kind: "Status" }) : failure));
    });
  };
  const services = '[{"app":"provider","image":"r/p:1"},{"app":"consumer","image":"r/c:1"}]';
  await withApiServer(answer, (kubeconfig) =>
    work(parseSettings({ context: "x", kubeconfig, services }), () => lease),
  );
}

afterEach(() => {
  delete process.env["DUBBO_MESH_PROMOTION"];
});

describe("the Lease of a promotion", () => {
  const taken = {
    message: "another process holds or has ended the promotion in namespace dubbo-demo",
    fix: "This process stops. `make preview` names a promotion that is under way, or shows what is left to deploy.",
  };

  it("is taken, records each step, and is released; its holder is in the environment meanwhile", async () => {
    await withServer(async (settings, stored) => {
      expect(await foundPromotion(settings)).toBeUndefined();
      const lease = new PromotionLease(settings);
      const done = await lease.during(PROMOTED, undefined, async () => {
        const found = await foundPromotion(settings);
        expect(found).toEqual({
          ...PROMOTED,
          holder: process.env["DUBBO_MESH_PROMOTION"],
          since: "2026-11-29T10:00:00Z",
          resourceVersion: "1",
        });
        expect(found?.holder).toMatch(new RegExp(`^${hostname()} ${process.pid} [0-9a-f-]{36}$`));
        await lease.confirm();
        // Only these fields are kept of a plan.
        await lease.record({ ...PROMOTED, held: 25, callers: [] } as PromotionRecord);
        const noted = stored()?.metadata.annotations["dubbo-mesh/promotion"] ?? "";
        expect(JSON.parse(noted)).toEqual({ ...PROMOTED, held: 25 });
        await lease.release();
        return "done";
      });
      expect(done).toBe("done");
      expect(stored()).toBeUndefined();
      expect(process.env["DUBBO_MESH_PROMOTION"]).toBeUndefined();
    });
  });

  it("stays if the promotion fails", async () => {
    await withServer(async (settings, stored) => {
      const failing = new PromotionLease(settings).during(PROMOTED, undefined, () =>
        Promise.reject(new Error("x")),
      );
      await expect(failing).rejects.toThrow("x");
      expect(stored()).toBeDefined();
      expect(process.env["DUBBO_MESH_PROMOTION"]).toBeUndefined();
    });
  });

  it("has one holder; another one can only take over what it has found", async () => {
    await withServer(async (settings, stored) => {
      const [first, other] = [new PromotionLease(settings), new PromotionLease(settings)];
      await first.during(PROMOTED, undefined, async () => {
        expect(await userError(other.during(PROMOTED, undefined, () => Promise.resolve()))).toEqual(taken);
        const found = await foundPromotion(settings);
        await first.record({ ...PROMOTED, held: 5 });
        expect(await userError(other.during(PROMOTED, found, () => Promise.resolve()))).toEqual(taken);
        await other.during(PROMOTED, await foundPromotion(settings), async () => {
          expect(await userError(first.confirm())).toEqual(taken);
          expect(await userError(first.record({ ...PROMOTED, held: 25 }))).toEqual(taken);
          expect(await userError(first.release())).toEqual(taken);
          expect(stored()).toBeDefined();
          await other.release();
        });
        expect(await userError(first.confirm())).toEqual(taken);
        expect(await userError(first.release())).toEqual(taken);
      });
    });
  });

  it("needs rights", async () => {
    const fix =
      "The account needs get, create, update and delete on Leases: kubectl auth can-i update leases -n dubbo-demo.";
    const unusable = /^the promotion's Lease in namespace dubbo-demo cannot be used: .*403/;
    await withServer(
      async (settings) => {
        const take = new PromotionLease(settings).during(PROMOTED, undefined, () => Promise.resolve());
        const error = await userError(take);
        expect(error.message).toMatch(unusable);
        expect(error.fix).toBe(fix);
      },
      { PUT: [], POST: [403] },
    );
    await withServer(
      async (settings) => {
        expect(await userError(foundPromotion(settings))).toMatchObject({
          message: expect.stringMatching(unusable) as string,
          fix,
        });
      },
      { GET: [403] },
    );
  });

  it("is an error if the server fails for longer", async () => {
    await withServer(
      async (settings) => {
        const lease = new PromotionLease(settings);
        const failing = lease.during(PROMOTED, undefined, () => lease.record({ ...PROMOTED, held: 25 }));
        expect((await userError(failing)).fix).toBe(
          "Check the connection to the cluster, then run the command again.",
        );
      },
      { PUT: [500, 500, 500] },
    );
  });

  it("is written again if the server fails for a moment", async () => {
    await withServer(
      async (settings, stored) => {
        const lease = new PromotionLease(settings);
        await lease.during(PROMOTED, undefined, () => lease.record({ ...PROMOTED, held: 25 }));
        expect(stored()?.metadata.resourceVersion).toBe("2");
      },
      { PUT: [500, 500] },
    );
  });
});

describe("a promotion that was found", () => {
  it("is under way while its process runs on this machine", async () => {
    await withServer(async (settings) => {
      const lease = new PromotionLease(settings);
      await lease.during(PROMOTED, undefined, async () => {
        const found = await foundPromotion(settings);
        if (found === undefined) throw new Error("there is no Lease");
        expect(await userError(rejectRunning(found))).toEqual({
          message: `a promotion is under way: v2 of greeter (started 2026-11-29T10:00:00Z; process ${process.pid} on ${hostname()})`,
          fix: `Wait until it ends. To stop it and restore the weights, run \`kill ${process.pid}\`.`,
        });
      });
      // The Lease stays, but nothing holds the lock any more. The process id does not matter.
      const found = await foundPromotion(settings);
      if (found === undefined) throw new Error("there is no Lease");
      await expect(rejectRunning(found)).resolves.toBeUndefined();
    });
  });
});
