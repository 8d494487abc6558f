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

/** Returns the warnings of a change from one stack to another. Undeclared objects are deleted. */
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

describe("the warnings", () => {
  it("are none without a removal", async () => {
    expect(await becoming(config({}), config({}))).toEqual([]);
    expect(warningsOf([], [])).toEqual([]);
  });

  it("cover all objects of a removed service in one sentence", async () => {
    expect(await becoming(config({}, entry("relay")), config({}))).toEqual([
      {
        target: `Service/${RELAY}`,
        text: `${RELAY} cannot be called any more; no service of the stack calls it, but others may.`,
      },
    ]);
  });

  it("name the callers", async () => {
    const before = (await declaredBy(config({}, entry("relay")))).objects;
    const service = before.filter(({ kind, metadata }) => kind === "Service" && metadata.name === PROVIDER);
    const told = (operation: Loss["operation"]): string | undefined =>
      warningsOf(
        before,
        service.map((object) => ({ operation, object })),
      )[0]?.text;
    const who = `${CONSUMER} and ${RELAY} call it`;
    expect(told("delete")).toBe(`${PROVIDER} cannot be called any more; ${who}.`);
    expect(told("replace")).toBe(`${PROVIDER} cannot be called until its Service is created again; ${who}.`);
  });

  it("include a version with calls, but not one of weight 0", async () => {
    expect(await becoming(config(versions(0)), config({}))).toEqual([]);
    expect(await becoming(config(versions(20)), config({}))).toEqual([
      {
        target: `Deployment/${PROVIDER}-v2`,
        text:
          `v2 of ${PROVIDER} stops, although it answers 20 percent of the calls; ${CONSUMER} calls it. ` +
          "First set its weight to 0 and remove its routes: then callers notice nothing.",
      },
    ]);
  });

  it("include a version of weight 0 with a route", async () => {
    const routed = config(versions(0, { headers: { "x-canary": "1" }, version: "v2" }));
    const [warning, ...more] = await becoming(routed, config({}));
    expect(more).toEqual([]);
    expect(warning?.text).toContain("although it answers the calls with certain headers; ");
  });

  it("include an application without callers", async () => {
    const [, caller] = await losing("replace", ["Deployment"]);
    expect(caller).toEqual({
      target: `Deployment/${CONSUMER}`,
      text: `${CONSUMER} stops before it starts again; it calls ${PROVIDER}.`,
    });
  });

  it("cover everything in a removed namespace in one sentence", async () => {
    const everything = (await declaredBy(config({}, entry("relay")))).objects;
    const told = (operation: Loss["operation"]): Warning[] =>
      warningsOf(
        everything,
        everything.map((object) => ({ operation, object })),
      );
    const to = `to ${PROVIDER} (${CONSUMER} and ${RELAY} call it) and ${RELAY} (no service of the stack calls it, but others may).`;
    expect(told("delete")).toEqual([
      {
        target: "Namespace/dubbo-demo",
        text: `dubbo-demo is deleted with all its objects. Calls fail: ${to}`,
      },
    ]);
    expect(told("replace")).toEqual([
      {
        target: "Namespace/dubbo-demo",
        text:
          "dubbo-demo is deleted with all its objects and created again. " +
          `Calls fail until it runs again, and keep failing at the old address: ${to}`,
      },
    ]);
  });

  it("include removed rules of a service that stays", async () => {
    expect(await losing("replace", ["VirtualService"])).toEqual([
      {
        target: `VirtualService/${PROVIDER}`,
        text: `calls to ${PROVIDER} have no weights, retries and timeouts until they are created again; ${CONSUMER} calls it.`,
      },
    ]);
    expect(
      (await losing("delete", ["DestinationRule"])).sort((a, b) => a.target.localeCompare(b.target)),
    ).toEqual([
      {
        target: `DestinationRule/${PROVIDER}`,
        text: `calls to ${PROVIDER} lose its load balancing and limits; ${CONSUMER} calls it.`,
      },
      {
        target: `DestinationRule/${PROVIDER}.v1`,
        text: `calls to v1 of ${PROVIDER} fail: no DestinationRule selects its pods; ${CONSUMER} calls it.`,
      },
    ]);
    const both = await losing("delete", ["DestinationRule", "VirtualService"]);
    expect(both.map(({ target }) => target)).toEqual([`VirtualService/${PROVIDER}`]);
  });

  it("include istiod, but not Istio's CRDs, which stay", () => {
    const release = (name: string): Loss => ({
      operation: "delete",
      object: { apiVersion: "helm.sh/v3", kind: "Release", metadata: { name } },
    });
    expect(warningsOf([], [release("istio-base"), release("istiod-1-30")])).toEqual([
      {
        target: "Release/istiod-1-30",
        text: "it injects no more sidecars, and its proxies get no more changes.",
      },
    ]);
  });

  it("omit callers and shares in encrypted values", async () => {
    const objects = (await declaredBy(config(versions(20)))).objects;
    const sealed = objects.map((object) => ({ ...object, ...("spec" in object && { spec: "[secret]" }) }));
    const version = sealed.filter(({ metadata }) => metadata.name === `${PROVIDER}-v2`);
    const losses = version.map((object) => ({ operation: "delete", object }) as const);
    expect(warningsOf(sealed, losses)).toEqual([
      {
        target: `Deployment/${PROVIDER}-v2`,
        text:
          `v2 of ${PROVIDER} stops, although it answers its share of the calls; its callers are in encrypted values. ` +
          "First set its weight to 0 and remove its routes: then callers notice nothing.",
      },
    ]);
  });

  it("include no object that carries no calls", async () => {
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

describe("changes between the stacks of this project", () => {
  const PRODUCTION = { security: { identities: "per-workload", networkPolicy: true, defaultDeny: true } };
  const strong = { ...config({}), ...PRODUCTION, healthCheck: "fast" };

  it("warn only of a canary's last share", async () => {
    const [dev, canary] = [config({}), config(versions(20))];
    expect(await becoming(dev, canary)).toEqual([]);
    expect(await becoming(canary, dev)).toHaveLength(1);
    expect(await becoming(dev, strong)).toEqual([]);
    expect(await becoming(strong, dev)).toEqual([]);
  });
});
