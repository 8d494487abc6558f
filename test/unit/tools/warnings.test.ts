import { describe, expect, it } from "vitest";
import type { KubernetesObject } from "../../../common/kubernetes-object.ts";
import { type Loss, type Warning, warningsOf } from "../../../tools/engine/warnings.ts";
import { declaredBy } from "../program.ts";

const [PROVIDER, CONSUMER, RELAY] = ["provider", "consumer", "relay"].map(
  (app) => `dubbo-samples-mesh-${app}`,
) as [string, string, string];

const entry = (app: string, more: object = {}): object => ({ app, image: `r.test/${app}:1`, ...more });
const versions = (v2: number, ...routes: object[]): object => ({
  versions: [
    { name: "v1", weight: 100 - v2 },
    { name: "v2", weight: v2 },
  ],
  ...(routes.length > 0 && { routes }),
});
const config = (provider: object, ...others: object[]): Readonly<Record<string, unknown>> => ({
  context: "minikube",
  services: [entry("provider", provider), entry("consumer"), ...others],
});

/** What a stack is told where it becomes another: what it does not declare any more is deleted. */
async function becoming(
  from: Readonly<Record<string, unknown>>,
  to: Readonly<Record<string, unknown>>,
): Promise<Warning[]> {
  const before = (await declaredBy(from)).objects;
  const name = ({ kind, metadata }: KubernetesObject): string => `${kind}/${metadata.name}`;
  const kept = new Set((await declaredBy(to)).objects.map(name));
  const gone = before.filter((object) => !kept.has(name(object)));
  return warningsOf(
    before,
    gone.map((object) => ({ operation: "delete", object })),
  );
}

async function losing(
  operation: Loss["operation"],
  kinds: readonly string[],
  from: Readonly<Record<string, unknown>> = config({}),
): Promise<Warning[]> {
  const before = (await declaredBy(from)).objects;
  const lost = before.filter(({ kind }) => kinds.includes(kind));
  return warningsOf(
    before,
    lost.map((object) => ({ operation, object })),
  );
}

describe("what calls would feel", () => {
  it("is nothing where nothing goes", async () => {
    expect(await becoming(config({}), config({}))).toEqual([]);
    expect(warningsOf([], [])).toEqual([]);
  });

  it("is a service that goes: one sentence for all of its objects", async () => {
    expect(await becoming(config({}, entry("relay")), config({}))).toEqual([
      {
        target: `Service/${RELAY}`,
        text: `${RELAY} cannot be called any more; no service of the stack calls it, others may.`,
      },
    ]);
  });

  it("names those who call it", async () => {
    const before = (await declaredBy(config({}, entry("relay")))).objects;
    const service = before.filter(({ kind, metadata }) => kind === "Service" && metadata.name === PROVIDER);
    const told = (operation: Loss["operation"]): string | undefined =>
      warningsOf(
        before,
        service.map((object) => ({ operation, object })),
      )[0]?.text;
    const who = `${CONSUMER} and ${RELAY} call it`;
    expect(told("delete")).toBe(`${PROVIDER} cannot be called any more; ${who}.`);
    expect(told("replace")).toBe(`${PROVIDER} cannot be called until its Service is made anew; ${who}.`);
  });

  it("is a version that answers calls, and not one of weight 0", async () => {
    expect(await becoming(config(versions(0)), config({}))).toEqual([]);
    expect(await becoming(config(versions(20)), config({}))).toEqual([
      {
        target: `Deployment/${PROVIDER}-v2`,
        text:
          `v2 of ${PROVIDER} ends, though it answers 20 percent of the calls; ${CONSUMER} calls it. ` +
          "Give it weight 0 and no routes first, and no call feels it.",
      },
    ]);
  });

  it("is a version of weight 0 that answers calls with certain headers", async () => {
    const routed = config(versions(0, { headers: { "x-canary": "1" }, version: "v2" }));
    const [warning, ...more] = await becoming(routed, config({}));
    expect(more).toEqual([]);
    expect(warning?.text).toContain("though it answers the calls with certain headers; ");
  });

  it("is an application that ends, though nobody calls it", async () => {
    const [, caller] = await losing("replace", ["Deployment"]);
    expect(caller).toEqual({
      target: `Deployment/${CONSUMER}`,
      text: `${CONSUMER} ends before it starts anew; it calls ${PROVIDER}.`,
    });
  });

  it("is a namespace that goes: one sentence for all that is in it", async () => {
    const everything = (await declaredBy(config({}, entry("relay")))).objects;
    const told = (operation: Loss["operation"]): Warning[] =>
      warningsOf(
        everything,
        everything.map((object) => ({ operation, object })),
      );
    const to = `to ${PROVIDER} (${CONSUMER} and ${RELAY} call it) and ${RELAY} (no service of the stack calls it, others may).`;
    expect(told("delete")).toEqual([
      { target: "Namespace/dubbo-demo", text: `dubbo-demo goes with all that is in it. Calls fail: ${to}` },
    ]);
    expect(told("replace")).toEqual([
      {
        target: "Namespace/dubbo-demo",
        text:
          "dubbo-demo goes with all that is in it, and is made anew. " +
          `Calls fail until it runs again, and at its old address for good: ${to}`,
      },
    ]);
  });

  it("is lost rules of calls to a service that stays", async () => {
    expect(await losing("replace", ["VirtualService"])).toEqual([
      {
        target: `VirtualService/${PROVIDER}`,
        text: `calls to ${PROVIDER} have no weights, retries and timeouts until they are made anew; ${CONSUMER} calls it.`,
      },
    ]);
    expect(
      (await losing("delete", ["DestinationRule"])).sort((a, b) => a.target.localeCompare(b.target)),
    ).toEqual([
      {
        target: `DestinationRule/${PROVIDER}`,
        text: `calls to ${PROVIDER} have neither its load balancing nor its bounds; ${CONSUMER} calls it.`,
      },
      {
        target: `DestinationRule/${PROVIDER}.v1`,
        text: `calls to v1 of ${PROVIDER} fail: nothing tells its pods apart; ${CONSUMER} calls it.`,
      },
    ]);
    const both = await losing("delete", ["DestinationRule", "VirtualService"]);
    expect(both.map(({ target }) => target)).toEqual([`VirtualService/${PROVIDER}`]);
  });

  it("is istiod, and not Istio's definitions, which stay", () => {
    const release = (name: string): Loss => ({
      operation: "delete",
      object: { apiVersion: "helm.sh/v3", kind: "Release", metadata: { name } },
    });
    expect(warningsOf([], [release("istio-base"), release("istiod-1-30")])).toEqual([
      {
        target: "Release/istiod-1-30",
        text: "no more sidecars are injected by it, and the proxies that it serves are told of no more changes.",
      },
    ]);
  });

  it("is told without callers and shares where they stand in encrypted values", async () => {
    const objects = (await declaredBy(config(versions(20)))).objects;
    const sealed = objects.map((object) => ({ ...object, ...("spec" in object && { spec: "[secret]" }) }));
    const version = sealed.filter(({ metadata }) => metadata.name === `${PROVIDER}-v2`);
    const losses = version.map((object) => ({ operation: "delete", object }) as const);
    expect(warningsOf(sealed, losses)).toEqual([
      {
        target: `Deployment/${PROVIDER}-v2`,
        text:
          `v2 of ${PROVIDER} ends, though it answers its share of the calls; who calls it stands in encrypted values. ` +
          "Give it weight 0 and no routes first, and no call feels it.",
      },
    ]);
  });

  it("is no object that carries no call", async () => {
    const production = {
      ...config({ versions: [{ name: "v1", autoscale: { min: 2, max: 4, cpu: 70 } }] }),
      security: { identities: "per-workload", networkPolicy: true, defaultDeny: true },
      observability: { dashboard: true },
    };
    const { objects } = await declaredBy(production);
    const calls = ["Namespace", "Service", "Deployment", "VirtualService", "DestinationRule"];
    const others = [...new Set(objects.map(({ kind }) => kind))].filter((kind) => !calls.includes(kind));
    expect(others.sort()).toEqual([
      "AuthorizationPolicy",
      "ConfigMap",
      "EnvoyFilter",
      "HorizontalPodAutoscaler",
      "NetworkPolicy",
      "PeerAuthentication",
      "PodDisruptionBudget",
      "Role",
      "RoleBinding",
      "ServiceAccount",
      "Sidecar",
      "Telemetry",
    ]);
    expect(await losing("delete", others, production)).toEqual([]);
    expect(await losing("replace", others, production)).toEqual([]);
  });
});

describe("between the stacks of this project", () => {
  const PRODUCTION = { security: { identities: "per-workload", networkPolicy: true, defaultDeny: true } };
  const strong = { ...config({}), ...PRODUCTION, healthCheck: "fast" };

  it("only a canary's last share is felt", async () => {
    const [dev, canary] = [config({}), config(versions(20))];
    expect(await becoming(dev, canary)).toEqual([]);
    expect(await becoming(canary, dev)).toHaveLength(1);
    expect(await becoming(dev, strong)).toEqual([]);
    expect(await becoming(strong, dev)).toEqual([]);
  });
});
