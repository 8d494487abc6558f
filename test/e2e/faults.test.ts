import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { StackFile } from "../../stack/stack-file.ts";
import { readStackFile } from "../../stack/stack-file.ts";
import { kubectl } from "../../tools/kubectl.ts";
import type { UpReport } from "../../tools/up.ts";
import type { CheckName } from "../../tools/verify/check.ts";
import { verify, type VerifyReport } from "../../tools/verify/verify.ts";
import { CONFIRM, figure, make, PROJECT_DIRECTORY, STACK, writeStack } from "./make.ts";
import { CONSUMER, PROVIDER, Scene, until } from "./scene.ts";

const NAMESPACE = "dubbo-faults";
const VERIFIER = "verifier";
const SOAK = process.env["SOAK"] !== undefined;
/** Numbers of healthy runs of verify; `make soak` makes more. */
const RUNS = SOAK ? { quiet: 30, busy: 20 } : { quiet: 6, busy: 2 };
/** Time until a fault has reached the proxies, seconds. */
const REACH_SECONDS = 30;

const folder = mkdtempSync(join(tmpdir(), "dubbo-mesh-faults-"));
let file: StackFile;

/** Rights of the account that verifies: it changes nothing. */
const RULES = [
  { apiGroups: [""], resources: ["pods", "pods/log"], verbs: ["get", "list", "watch"] },
  { apiGroups: [""], resources: ["pods/exec"], verbs: ["create", "get"] },
];

/** Writes a kubeconfig of an account that may read pods and run commands in them only. */
async function verifierKubeconfig(scene: Scene): Promise<string> {
  const role = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: VERIFIER };
  const subjects = [{ kind: "ServiceAccount", name: VERIFIER, namespace: NAMESPACE }];
  const rbac = "rbac.authorization.k8s.io/v1";
  await scene.apply(
    { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: VERIFIER } },
    { apiVersion: rbac, kind: "ClusterRole", metadata: { name: VERIFIER }, rules: RULES },
    { apiVersion: rbac, kind: "ClusterRoleBinding", metadata: { name: VERIFIER }, roleRef: role, subjects },
  );
  const token = (await scene.kubectl("create", "token", VERIFIER, "--duration=3h")).trim();
  const view = await scene.kubectl("config", "view", "--raw", "--minify", "--output=json");
  const config = JSON.parse(view) as { users: unknown[]; contexts: { context: { user: string } }[] };
  config.users = [{ name: VERIFIER, user: { token } }];
  for (const { context } of config.contexts) context.user = VERIFIER;
  const path = join(folder, "kubeconfig");
  writeFileSync(path, JSON.stringify(config), { mode: 0o600 });
  return path;
}

beforeAll(async () => {
  const versions = [
    { name: "v1", replicas: 2, weight: 80 },
    { name: "v2", replicas: 1, weight: 20 },
  ];
  writeStack({
    namespace: NAMESPACE,
    provider: { versions },
    consumer: { interval: "0.05s" },
    healthCheck: "fast",
  });
  await make<UpReport>("up", "JSON=1");
  const scene = await Scene.now();
  await scene.settled();
  const kubeconfig = await verifierKubeconfig(scene);
  const made = await readStackFile(PROJECT_DIRECTORY, STACK);
  file = { ...made, settings: { ...made.settings, kubeconfig } };
});

afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  const scene = await Scene.now();
  await scene.kubectl("delete", "clusterrolebinding,clusterrole", VERIFIER, "--ignore-not-found");
  await make("down", CONFIRM);
});

function failed({ checks }: VerifyReport): CheckName[] {
  return [...new Set(checks.filter(({ ok }) => !ok).map(({ check }) => check))];
}

/** An operation of a JSON patch. */
interface Operation {
  readonly op: "add" | "remove" | "replace";
  readonly path: string;
  readonly value?: unknown;
}

/** A fault that somebody makes by hand, and its end. */
interface Fault {
  readonly name: string;
  /** Check that must fail. Others may fail, too. */
  readonly seenBy: CheckName;
  /** Makes the fault, and returns a function that takes it back. */
  readonly make: (scene: Scene) => Promise<() => Promise<unknown>>;
}

/** Returns a fault that patches an object. */
function patched(name: string, seenBy: CheckName, object: string, ...operations: Operation[]): Fault {
  return {
    name,
    seenBy,
    make: async (scene) => {
      const { spec } = JSON.parse(await scene.kubectl("get", object, "--output=json")) as { spec: unknown };
      const patch = (changes: readonly Operation[]): Promise<string> =>
        scene.kubectl("patch", object, "--type=json", `--patch=${JSON.stringify(changes)}`);
      await patch(operations);
      return () => patch([{ op: "replace", path: "/spec", value: spec }]);
    },
  };
}

/** Returns a fault that deletes an object. */
function deleted(name: string, seenBy: CheckName, object: string): Fault {
  return {
    name,
    seenBy,
    make: async (scene) => {
      const { apiVersion, kind, metadata, spec } = JSON.parse(
        await scene.kubectl("get", object, "--output=json"),
      ) as { apiVersion: string; kind: string; metadata: Record<string, unknown>; spec: object };
      await scene.kubectl("delete", object);
      const { name: own, labels, annotations } = metadata;
      return () => scene.apply({ apiVersion, kind, metadata: { name: own, labels, annotations }, spec });
    },
  };
}

/** Returns a fault that adds an object. */
function added(name: string, seenBy: CheckName, kind: string, apiVersion: string, spec: object): Fault {
  return {
    name,
    seenBy,
    make: async (scene) => {
      await scene.apply({ apiVersion, kind, metadata: { name: "foreign" }, spec });
      return () => scene.kubectl("delete", kind, "foreign");
    },
  };
}

const SECURITY = "security.istio.io/v1";
const FILTERS = "networking.istio.io/v1alpha3";
const RULE = `destinationrule/${PROVIDER}`;
const ROUTES = `virtualservice/${PROVIDER}`;
const FILTER = "envoyfilter/cluster";
const POLICY = "/spec/trafficPolicy";
const CHECK = "/spec/configPatches/0/patch/value/health_checks/0";
const HOST = `${PROVIDER}.${NAMESPACE}.svc.cluster.local`;

const SECOND_CHECK = {
  workloadSelector: { labels: { app: CONSUMER } },
  configPatches: [
    {
      applyTo: "CLUSTER",
      match: { context: "SIDECAR_OUTBOUND", cluster: { service: HOST, portNumber: 50_052 } },
      patch: {
        operation: "MERGE",
        value: {
          health_checks: [
            {
              timeout: "1s",
              interval: "1s",
              unhealthy_threshold: 1,
              healthy_threshold: 1,
              tcp_health_check: {},
            },
          ],
        },
      },
    },
  ],
};

const DELAY = { delay: { percentage: { value: 100 }, fixedDelay: "0.3s" } };
const SCALED: Fault = {
  name: "a Deployment is scaled",
  seenBy: "ready",
  make: async (scene) => {
    const deployment = `deployment/${PROVIDER}-v1`;
    await scene.kubectl("scale", deployment, "--replicas=1");
    return () => scene.kubectl("scale", deployment, "--replicas=2");
  },
};
const ISTIOD_DOWN: Fault = {
  name: "istiod is down",
  seenBy: "sync",
  make: async (scene) => {
    const istiod = ["scale", "deployment/istiod", "--namespace=istio-system"];
    await scene.kubectl(...istiod, "--replicas=0");
    return async () => {
      await scene.kubectl(...istiod, "--replicas=1");
      await scene.kubectl("rollout", "status", "deployment/istiod", "--namespace=istio-system");
    };
  },
};

const FAULTS: readonly Fault[] = [
  patched("mTLS is permissive", "transport", "peerauthentication/default", {
    op: "replace",
    path: "/spec/mtls/mode",
    value: "PERMISSIVE",
  }),
  patched("mTLS is off at the provider", "transport", "peerauthentication/default", {
    op: "replace",
    path: "/spec/mtls/mode",
    value: "DISABLE",
  }),
  patched("mTLS is off at the caller", "traffic policy", RULE, {
    op: "add",
    path: `${POLICY}/tls`,
    value: { mode: "DISABLE" },
  }),
  added("plaintext is allowed on one port", "transport", "PeerAuthentication", SECURITY, {
    selector: { matchLabels: { app: PROVIDER } },
    portLevelMtls: { 50052: { mode: "PERMISSIVE" } },
  }),
  patched("retries are off", "routes", ROUTES, {
    op: "replace",
    path: "/spec/http/0/retries",
    value: { attempts: 0 },
  }),
  patched("weights are changed", "routes", ROUTES, {
    op: "replace",
    path: "/spec/http/0/route/0/weight",
    value: 20,
  }),
  patched("a route has a timeout", "routes", ROUTES, {
    op: "add",
    path: "/spec/http/0/timeout",
    value: "20s",
  }),
  patched("calls are delayed", "routes", ROUTES, { op: "add", path: "/spec/http/0/fault", value: DELAY }),
  patched("calls are mirrored", "routes", ROUTES, {
    op: "add",
    path: "/spec/http/0/mirror",
    value: { host: HOST, subset: "v2" },
  }),
  deleted("the routes are gone", "routes", ROUTES),
  patched("outlier detection is off", "traffic policy", RULE, {
    op: "remove",
    path: `${POLICY}/outlierDetection`,
  }),
  patched("an ejected endpoint comes back soon", "traffic policy", RULE, {
    op: "replace",
    path: `${POLICY}/outlierDetection/baseEjectionTime`,
    value: "1s",
  }),
  patched("few calls may wait", "traffic policy", RULE, {
    op: "replace",
    path: `${POLICY}/connectionPool/http/http2MaxRequests`,
    value: 2,
  }),
  patched("the load balancer is another one", "traffic policy", RULE, {
    op: "replace",
    path: `${POLICY}/loadBalancer/simple`,
    value: "RANDOM",
  }),
  patched("panic is off", "traffic policy", RULE, {
    op: "replace",
    path: `${POLICY}/outlierDetection/minHealthPercent`,
    value: 0,
  }),
  patched("a subset has no pods", "addresses", `destinationrule/${PROVIDER}.v2`, {
    op: "replace",
    path: "/spec/subsets/0/labels/version",
    value: "v9",
  }),
  deleted("an AuthorizationPolicy is gone", "authorization", `authorizationpolicy/${PROVIDER}.dubbo-sa`),
  added("a foreign AuthorizationPolicy admits everyone", "authorization", "AuthorizationPolicy", SECURITY, {
    action: "ALLOW",
    rules: [{}],
  }),
  deleted("the caller's scope is gone", "scope", `sidecar/${CONSUMER}`),
  deleted("the provider's scope is gone", "scope", `sidecar/${PROVIDER}`),
  deleted("the check is gone", "check settings", FILTER),
  patched("the check is without effect", "check settings", FILTER, {
    op: "replace",
    path: "/spec/configPatches/0/match/cluster/portNumber",
    value: 50_053,
  }),
  patched("the check asks for another service", "check settings", FILTER, {
    op: "replace",
    path: `${CHECK}/grpc_health_check/service_name`,
    value: "org.example.Missing",
  }),
  patched("the check is slow", "check settings", FILTER, {
    op: "replace",
    path: `${CHECK}/no_traffic_healthy_interval`,
    value: "60s",
  }),
  patched("the check is in plaintext", "check settings", FILTER, {
    op: "add",
    path: `${CHECK}/transport_socket_match_criteria`,
    value: { useMTLS: true },
  }),
  patched("a passing check returns an ejected endpoint", "check settings", FILTER, {
    op: "remove",
    path: "/spec/configPatches/0/patch/value/outlier_detection",
  }),
  added(
    "a second check makes Envoy refuse all updates of clusters",
    "sync",
    "EnvoyFilter",
    FILTERS,
    SECOND_CHECK,
  ),
  patched("access logs are off", "outbound log", "telemetry/access-logs", {
    op: "replace",
    path: "/spec/accessLogging",
    value: [{ disabled: true }],
  }),
  patched("the Service's port is tcp", "routes", `service/${PROVIDER}`, {
    op: "replace",
    path: "/spec/ports/0/appProtocol",
    value: "tcp",
  }),
  SCALED,
  ISTIOD_DOWN,
];

/** Faults to make: the first one of each check; `make soak` makes all. */
const MADE = FAULTS.filter(
  ({ seenBy }, index) => SOAK || FAULTS.findIndex((other) => other.seenBy === seenBy) === index,
);

describe("verify, with an account that changes nothing", () => {
  const healthyRuns = async (count: number): Promise<void> => {
    for (let run = 0; run < count; run += 1) {
      const report = await verify(file);
      expect(report.checks.filter(({ ok }) => !ok)).toEqual([]);
    }
  };

  it(`has no false alarm in ${RUNS.quiet} runs`, () => healthyRuns(RUNS.quiet));

  it(`has no false alarm in ${RUNS.busy} runs on a busy machine`, async () => {
    const busy = Array.from({ length: availableParallelism() }, () =>
      execa(process.execPath, ["-e", "for (;;);"], { reject: false }),
    );
    try {
      await healthyRuns(RUNS.busy);
    } finally {
      for (const each of busy) each.kill();
      await Promise.all(busy);
    }
  });

  it("may not change anything", async () => {
    const can = (...what: string[]): Promise<string> =>
      kubectl(file.settings, ["auth", "can-i", "--namespace", NAMESPACE, ...what]).catch(() => "no");
    expect((await can("create", "pods", "--subresource=exec")).trim()).toBe("yes");
    for (const what of [
      ["patch", "deployments"],
      ["delete", "pods"],
      ["get", "secrets"],
      ["create", "pods"],
    ])
      expect((await can(...what)).trim()).toBe("no");
  });

  it.each(MADE)("sees that $name, by the check $seenBy", async ({ seenBy, make: fault }) => {
    const scene = await Scene.now();
    const takeBack = await fault(scene);
    try {
      const report = await until(`${seenBy} fails`, REACH_SECONDS, async () => {
        const seen = await verify(file);
        return failed(seen).includes(seenBy) ? seen : undefined;
      });
      expect(report.ok).toBe(false);
      expect(report.fixes[seenBy]).toMatch(/\w+/);
    } finally {
      await takeBack();
    }
    await until("verify is content again", 2 * REACH_SECONDS, async () => {
      const { ok } = await verify(file);
      return ok ? true : undefined;
    });
  });

  it("takes a pod that ends while it is asked for no fault", async () => {
    const scene = await Scene.now();
    const deployment = `deployment/${PROVIDER}-v1`;
    await scene.kubectl("rollout", "restart", deployment);
    const rollout = { ended: false };
    const end = scene.kubectl("rollout", "status", deployment).then(() => {
      rollout.ended = true;
    });
    // While a pod starts, it is right that `ready` fails.
    while (!rollout.ended) {
      const alarms = failed(await verify(file));
      expect(alarms.length === 0 || alarms.includes("ready"), alarms.join()).toBe(true);
    }
    await end;
    expect((await verify(file)).checks.filter(({ ok }) => !ok)).toEqual([]);
  });

  if (SOAK)
    it("takes less than 20 s for ten proxies", async () => {
      const services = { provider: { replicas: 5 }, consumer: { replicas: 5, interval: "0.2s" } };
      writeStack({ namespace: NAMESPACE, ...services, healthCheck: "fast" });
      await make<UpReport>("up", "JSON=1", CONFIRM);
      await (await Scene.now()).settled();
      const { result, seconds } = await make<VerifyReport>("verify", "JSON=1");
      figure("verify of ten proxies", seconds, 20);
      expect(result.ok).toBe(true);
      expect(seconds).toBeLessThan(20);
    });
});
