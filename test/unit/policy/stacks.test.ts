import { readdirSync } from "node:fs";
import { describe, expect, it, test } from "vitest";
import { declaredBy } from "../program.ts";
import { lines, ROOT, stackObjects } from "./support.ts";

/** What is found in a stack; in one that is not here, nothing. */
const KNOWN: Readonly<Record<string, readonly string[]>> = {};

/** The stacks of the checkout; `e2e` is one that the end-to-end tests write. */
const STACKS = readdirSync(ROOT)
  .flatMap((file) => /^Pulumi\.(.+)\.yaml$/.exec(file)?.[1] ?? [])
  .filter((stack) => stack !== "e2e");

function versionOf(name: string, weight: number): object {
  return { name, replicas: 1, weight };
}

describe("the project's stacks", () => {
  test.each(STACKS)("%s keeps the rules", async (stack) => {
    expect(lines(await stackObjects(stack))).toEqual(KNOWN[stack] ?? []);
  });

  it("keep them all, and are these at least", () => {
    expect(STACKS).toEqual(expect.arrayContaining(["canary", "dev", "prod", "staging"]));
  });

  it("break these where the end-to-end tests turn security off on purpose", async () => {
    const { objects } = await declaredBy({
      cluster: "local",
      security: { mtls: "PERMISSIVE", authorization: false },
    });
    expect(lines(objects)).toEqual([
      "error mtls-strict PeerAuthentication dubbo-demo/default spec.mtls.mode: is PERMISSIVE: a Triple port takes plaintext",
    ]);
  });

  test.each([
    [
      "a service that nobody calls yet",
      { services: [{ app: "provider" }, { app: "relay" }, { app: "consumer" }] },
    ],
    [
      "a version that is ready to get calls, and is checked already",
      {
        services: [
          { app: "provider", versions: [versionOf("v1", 100), versionOf("v2", 0)] },
          { app: "consumer" },
        ],
      },
    ],
    [
      "methods with timeouts, calls by header, a slow start",
      {
        traffic: { loadBalancer: "LEAST_REQUEST", warmup: "30s" },
        services: [
          {
            app: "provider",
            versions: [versionOf("v1", 100), versionOf("v2", 0)],
            methods: { "/org.apache.dubbo.samples.Greeter/UpperCaseGreet": { timeout: "2s" } },
            routes: [{ headers: { "x-canary": "yes" }, version: "v2" }],
          },
          { app: "consumer" },
        ],
      },
    ],
    [
      "traces to a collector, which is no service of theirs",
      { observability: { tracing: { provider: "otel", service: "otel.traces.svc.cluster.local" } } },
    ],
  ])("keep them with %s", async (_title, config) => {
    const { objects } = await declaredBy({ cluster: "local", ...config });
    expect(lines(objects)).toEqual([]);
  });
});
