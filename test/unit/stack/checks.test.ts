import { appendFileSync, mkdtempSync, writeFileSync } from "node:fs";
import type { RequestListener } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { afterEach, describe, expect, it, vi } from "vitest";
import program from "../../../index.ts";
import { UserError } from "../../../common/errors.ts";
import { parseSettings } from "../../../settings/settings.ts";
import { checkCluster, checkStack, ISTIO_KINDS, unchecked } from "../../../stack/checks.ts";
import { register } from "../components/mocks.ts";
import { withApiServer } from "../api-server.ts";
import { declaredBy } from "../program.ts";
import { userError } from "../tools/user-error.ts";

type Webhook = Readonly<Record<string, unknown>>;

function webhook(matchExpressions: readonly object[], clientConfig: object): Webhook {
  return {
    name: "namespace.sidecar-injector.istio.io",
    admissionReviewVersions: ["v1"],
    sideEffects: "None",
    namespaceSelector: { matchExpressions },
    clientConfig,
  };
}

const service = (name: string): object => ({ service: { name, namespace: "istio-system", port: 443 } });
const DEFAULT = webhook([{ key: "istio-injection", operator: "In", values: ["enabled"] }], service("istiod"));
const ofRevision = (revision: string, istiod: string): Webhook =>
  webhook(
    [
      { key: "istio.io/rev", operator: "In", values: [revision] },
      { key: "istio-injection", operator: "DoesNotExist" },
    ],
    service(istiod),
  );
const configuration = (labels: object, ...webhooks: Webhook[]): object => ({
  metadata: { labels },
  webhooks,
});

const ALL = [
  configuration({ "istio.io/rev": "default" }, DEFAULT),
  configuration({ "istio.io/rev": "1-30" }, ofRevision("1-30", "istiod-1-30")),
  configuration({ "istio.io/rev": "1-30", "istio.io/tag": "prod" }, ofRevision("prod", "istiod-1-30")),
  configuration({}, { ...DEFAULT, name: "other.example.com", clientConfig: service("other") }),
];

/** Answers of a cluster: its kinds, its webhooks, and the versions of its istiods by Service. */
interface Cluster {
  readonly kinds?: Readonly<Record<string, readonly string[]>>;
  readonly webhooks?: readonly object[];
  readonly versions?: Readonly<Record<string, string>>;
  /** Metadata of the stack's namespace; undefined if it does not exist. */
  readonly namespace?: object;
  /** Lease of a promotion; undefined if there is none. */
  readonly lease?: object;
  /** Requests that get the answer `code`. */
  readonly failing?: RegExp;
  readonly code?: number;
  readonly reason?: string;
}

const NAMESPACE_ASKED = "/api/v1/namespaces/dubbo-demo";
const LEASE_ASKED = "/apis/coordination.k8s.io/v1/namespaces/dubbo-demo/leases/dubbo-mesh-promotion";

function answerOf(
  { kinds = ISTIO_KINDS, webhooks = ALL, versions = {}, namespace, lease }: Cluster,
  url: string,
): unknown {
  if (url === "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations")
    return { items: webhooks };
  if (url === LEASE_ASKED) return lease;
  if (url === NAMESPACE_ASKED) return namespace && { metadata: namespace };
  const [, name = ""] =
    /^\/api\/v1\/namespaces\/istio-system\/services\/(.+)(?::|%3A)15014\/proxy\/version$/.exec(url) ?? [];
  if (name !== "") return versions[name];
  const served = kinds[url.replace(/^\/apis\//, "")];
  return (
    served && {
      groupVersion: "",
      resources: served.map((kind) => ({ kind, name: "", namespaced: true, verbs: [] })),
    }
  );
}

/** Requests and warnings of the checks. */
interface Checked {
  readonly asked: readonly string[];
  readonly warnings: readonly string[];
}

/** Checks a stack against a cluster with these answers. */
async function check(cluster: Cluster, stack: Readonly<Record<string, string>> = {}): Promise<Checked> {
  const asked: string[] = [];
  const warnings: string[] = [];
  const answer: RequestListener = ({ url = "" }, response) => {
    asked.push(url);
    const failing = cluster.failing?.test(url) === true;
    const found = failing ? { message: cluster.reason } : answerOf(cluster, url);
    const text = typeof found === "string";
    const code = failing ? (cluster.code ?? 403) : found === undefined ? 404 : 200;
    response.writeHead(code, { "content-type": text ? "text/plain; charset=utf-8" : "application/json" });
    response.end(text ? found : JSON.stringify(found ?? {}));
  };
  const images = { services: "[{ app: provider, image: 'r/p:1' }, { app: consumer, image: 'r/c:1' }]" };
  await withApiServer(answer, async (kubeconfig) => {
    const settings = parseSettings({ context: "x", kubeconfig, ...images, ...stack });
    await checkCluster({ stack: "test", settings }, (warning) => warnings.push(warning));
  });
  return { asked: asked.map(decodeURIComponent).sort(), warnings };
}

const KINDS_ASKED = Object.keys(ISTIO_KINDS).map((group) => `/apis/${group}`);
const WEBHOOKS_ASKED = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const versionOf = (name: string): string =>
  `/api/v1/namespaces/istio-system/services/${name}:15014/proxy/version`;
const SERVING = { versions: { istiod: "1.30.2-abc-Clean" } };

describe("the kinds that the checks require", () => {
  it("are all kinds that a stack declares", async () => {
    const { objects } = await declaredBy({ cluster: "local" });
    const declared = new Map<string, Set<string>>();
    for (const { apiVersion, kind } of objects.filter((object) => object.apiVersion.includes(".istio.io/")))
      declared.set(apiVersion, (declared.get(apiVersion) ?? new Set<string>()).add(kind));
    expect(Object.fromEntries([...declared].map(([group, kinds]) => [group, [...kinds].sort()]))).toEqual(
      ISTIO_KINDS,
    );
  });
});

describe("an Istio that can serve the stack", () => {
  it.each([
    [{}, "istiod"],
    [{ revision: "1-30" }, "istiod-1-30"],
    [{ revision: "prod", istio: 'version: "1.30"' }, "istiod-1-30"],
  ])("gets seven requests for %j, and one for the injecting istiod", async (stack, istiod) => {
    const { asked, warnings } = await check({ versions: { [istiod]: "1.30.2-abc-Clean" } }, stack);
    const istio = [...KINDS_ASKED, WEBHOOKS_ASKED, versionOf(istiod)];
    expect({ asked, warnings }).toEqual({
      asked: [...istio, NAMESPACE_ASKED, LEASE_ASKED].sort(),
      warnings: [],
    });
  });

  it.each(["1.24.0-x-Clean", "1.31-alpha.eed52ebb66ad-unknown-unknown", "unknown"])(
    "may have the version %s",
    async (version) => {
      expect((await check({ versions: { istiod: version } })).asked).toHaveLength(8);
    },
  );

  it("need not inject without sidecars", async () => {
    const { asked } = await check({ webhooks: [] }, { injection: "false" });
    expect(asked).toEqual([...KINDS_ASKED, WEBHOOKS_ASKED, NAMESPACE_ASKED, LEASE_ASKED].sort());
  });

  it("may run outside the cluster", async () => {
    const [expressions] = [[{ key: "istio-injection", operator: "Exists" }]];
    const webhooks = [configuration({}, webhook(expressions, { url: "https://istiod.test/inject" }))];
    expect((await check({ webhooks })).asked).toHaveLength(7);
  });

  it("is not checked if the stack installs it", async () => {
    for (const mode of ["install", "crds"]) {
      const { asked } = await check({ kinds: {}, webhooks: [] }, { istio: `mode: ${mode}` });
      expect(asked).toEqual([NAMESPACE_ASKED, LEASE_ASKED]);
    }
  });
});

describe("an Istio that cannot serve the stack", () => {
  it("is missing", async () => {
    expect(await userError(check({ kinds: {}, webhooks: [] }))).toEqual({
      message:
        "the cluster of context x does not serve DestinationRule (networking.istio.io/v1), Sidecar (networking.istio.io/v1), " +
        "VirtualService (networking.istio.io/v1), EnvoyFilter (networking.istio.io/v1alpha3), AuthorizationPolicy (security.istio.io/v1), " +
        "PeerAuthentication (security.istio.io/v1), Telemetry (telemetry.istio.io/v1): Istio is not installed there, or is older than 1.24",
      fix: "Install Istio 1.24 or newer, or let the stack do it (dubbo-mesh:istio, mode: install).",
    });
  });

  it("lacks a kind", async () => {
    const kinds = { ...ISTIO_KINDS, "telemetry.istio.io/v1": [] };
    expect((await userError(check({ kinds }))).message).toBe(
      "the cluster of context x does not serve Telemetry (telemetry.istio.io/v1): Istio is not installed there, or is older than 1.24",
    );
  });

  it("lacks the revision", async () => {
    expect(await userError(check({}, { revision: "1-31" }))).toEqual({
      message:
        "no webhook of context x injects sidecars into a namespace with istio.io/rev=1-31: pods would start outside the mesh",
      fix: "Set dubbo-mesh:revision to an existing one (1-30, default, prod); for default, leave it out.",
    });
  });

  it("lacks a default revision, or any injection", async () => {
    const message =
      "no webhook of context x injects sidecars into a namespace with istio-injection=enabled: pods would start outside the mesh";
    expect((await userError(check({ webhooks: ALL.slice(1, 3) }))).message).toBe(message);
    expect(await userError(check({ webhooks: [] }))).toEqual({
      message,
      fix: "Install istiod, or let the stack do it (dubbo-mesh:istio, mode: install).",
    });
  });

  it("does not answer", async () => {
    expect(await userError(check({}))).toEqual({
      message: "istio-system/istiod, which injects the sidecars, does not answer: no pod could start",
      fix: "Look at its pods: kubectl get pods --namespace istio-system --selector app=istiod.",
    });
  });

  it.each(["true", "false"])("runs in the stack's namespace: injection %s", async (injection) => {
    const webhooks = [
      configuration({}, webhook([], { service: { name: "istiod", namespace: "dubbo-demo" } })),
      ...ALL,
    ];
    expect(await userError(check({ ...SERVING, webhooks }, { injection }))).toEqual({
      message:
        "context x has an istiod in namespace dubbo-demo: the stack's policies would be for the whole mesh, and down would remove istiod",
      fix: "Set another namespace (dubbo-mesh:namespace).",
    });
  });

  it("is too old", async () => {
    expect(await userError(check({ versions: { istiod: "1.23.6-abc-Clean" } }))).toEqual({
      message:
        "istio-system/istiod is Istio 1.23.6-abc-Clean, older than 1.24: it does not support everything that the stack declares",
      fix: "Upgrade Istio to 1.24 or newer, or set dubbo-mesh:revision to a newer istiod.",
    });
  });

  it("has another version than the stack expects", async () => {
    const stack = { istio: 'version: "1.31"' };
    expect(await userError(check({ versions: { istiod: "1.30.4-abc-Clean" } }, stack))).toEqual({
      message: "dubbo-mesh:istio.version is 1.31, but istio-system/istiod is Istio 1.30.4-abc-Clean",
      fix: "Set istio.version to the installed version, or leave it out.",
    });
  });
});

describe("a cluster that cannot be read", () => {
  it.each([
    [401, "Unauthorized", "HTTP 401: Unauthorized"],
    [500, undefined, "HTTP 500"],
  ])("answers %i", async (code, reason, told) => {
    const failing = { failing: /admissionregistration/, code, ...(reason !== undefined && { reason }) };
    expect(await userError(check({ ...SERVING, ...failing }))).toEqual({
      message: `the cluster of context x refuses or does not answer: ${told}`,
      fix: "Check that it runs and that the context's credentials are valid (kubectl version), then run the command again.",
    });
  });

  it.each([
    [
      /admissionregistration/,
      "the cluster's Istio is not checked: HTTP 403: no. The check needs these rights: " +
        "kubectl auth can-i list mutatingwebhookconfigurations; kubectl auth can-i get services/proxy -n istio-system.",
    ],
    [
      /proxy/,
      "the cluster's Istio is not checked: HTTP 403: no. The check needs these rights: " +
        "kubectl auth can-i list mutatingwebhookconfigurations; kubectl auth can-i get services/proxy -n istio-system.",
    ],
    [
      /v1\/namespaces\/dubbo-demo$/,
      "the namespace is not checked: HTTP 403: no. The check needs these rights: kubectl auth can-i get namespaces.",
    ],
    [
      /leases/,
      "a promotion is not checked: HTTP 403: no. The check needs these rights: kubectl auth can-i get leases.",
    ],
  ])("is a warning if rights are missing: %s", async (failing, warning) => {
    const { warnings } = await check({ ...SERVING, failing, reason: "no" });
    expect(warnings).toEqual([warning]);
  });

  it("is an error for the part that can be read", async () => {
    const forbidden = { failing: /admissionregistration/, reason: "no" };
    expect((await userError(check({ ...forbidden, kinds: {} }))).message).toContain("does not serve");
  });
});

describe("an answer that is not from Kubernetes", () => {
  it("is an error", async () => {
    const failing = { failing: /security/, code: 200, reason: "Log in, please" };
    expect((await userError(check({ ...SERVING, ...failing }))).message).toBe(
      "the cluster of context x refuses or does not answer: /apis/security.istio.io/v1 has an unexpected answer",
    );
  });
});

describe("an existing namespace", () => {
  it.each([
    [{ managedFields: [{ manager: "kubectl" }, { manager: "pulumi-kubernetes-1a2b3c4d" }] }],
    [{ labels: { "app.kubernetes.io/managed-by": "pulumi" } }],
  ])("belongs to a stack: %j", async (namespace) => {
    expect((await check({ ...SERVING, namespace })).warnings).toEqual([]);
  });

  it.each([
    [{}],
    [
      {
        managedFields: [{ manager: "kubectl-create" }, {}],
        labels: { "app.kubernetes.io/managed-by": "Helm" },
      },
    ],
  ])("does not belong to a stack: %j", async (namespace) => {
    expect(await userError(check({ ...SERVING, namespace }))).toEqual({
      message: "context x has a namespace dubbo-demo that Pulumi did not create",
      fix:
        "Set another namespace (dubbo-mesh:namespace), delete this one if it is not needed, or let the stack take it over " +
        "(`down` then deletes it): kubectl label namespace dubbo-demo app.kubernetes.io/managed-by=pulumi.",
    });
  });
});

describe("a promotion", () => {
  const lease = {
    metadata: {
      annotations: {
        "dubbo-mesh/promotion": '{"service":"greeter","version":"v2","from":{"v1":100,"v2":0},"held":25}',
      },
      resourceVersion: "7",
      creationTimestamp: "2026-11-29T10:00:00Z",
    },
    spec: { holderIdentity: "ci 12 abc" },
  };

  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it("stops all other updates", async () => {
    expect(await userError(check({ ...SERVING, lease }))).toEqual({
      message:
        "a promotion is under way or was interrupted: v2 of greeter (started 2026-11-29T10:00:00Z; process 12 on ci)",
      fix: "Run `make promote STACK=test` on the machine that started it: it says whether the promotion still runs. If it does not, add CONTINUE=1 to go on, or BACK=1 to restore the weights.",
    });
  });

  it.each(["", "{", '{"service":"greeter"}'])(
    "is one error if its Lease cannot be read: %s",
    async (promoted) => {
      const annotations = { "dubbo-mesh/promotion": promoted };
      const foreign = { ...lease, metadata: { ...lease.metadata, annotations } };
      expect((await userError(check({ ...SERVING, lease: foreign }))).message).toBe(
        "the cluster of context x refuses or does not answer: /apis/coordination.k8s.io/v1/namespaces/dubbo-demo/leases/dubbo-mesh-promotion has an unexpected answer",
      );
    },
  );

  it.each([[lease], [undefined]])("stops an update of an earlier one: %j", async (now) => {
    vi.stubEnv("DUBBO_MESH_PROMOTION", "ci 12 other");
    expect(await userError(check({ ...SERVING, ...(now && { lease: now }) }))).toEqual({
      message: "another process holds or has ended the promotion in namespace dubbo-demo",
      fix: "This process stops. `make preview` names a promotion that is under way, or shows what is left to deploy.",
    });
  });

  it("does not stop its own updates", async () => {
    vi.stubEnv("DUBBO_MESH_PROMOTION", "ci 12 abc");
    expect((await check({ ...SERVING, lease })).warnings).toEqual([]);
  });
});

describe("a namespace in ambient mode", () => {
  const namespace = (mode: string): object => ({
    labels: { "app.kubernetes.io/managed-by": "pulumi", "istio.io/dataplane-mode": mode },
  });

  it("is refused", async () => {
    expect(await userError(check({ ...SERVING, namespace: namespace("ambient") }))).toEqual({
      message:
        "namespace dubbo-demo of context x is in ambient mode (istio.io/dataplane-mode=ambient), and the stack needs sidecars: " +
        "waypoints support no EnvoyFilter, so nothing would check health",
      fix: "Remove its label (kubectl label namespace dubbo-demo istio.io/dataplane-mode-), or set another namespace (dubbo-mesh:namespace).",
    });
  });

  it("is not one that is kept out of it", async () => {
    expect((await check({ ...SERVING, namespace: namespace("none") })).warnings).toEqual([]);
  });
});

const CONFIGURED = {
  context: "elsewhere",
  services: "[{ app: provider, image: 'r/p:1' }, { app: consumer, image: 'r/c:1' }]",
};

function configure(): void {
  const entries = Object.entries(CONFIGURED).map(([key, value]) => [`dubbo-mesh:${key}`, value]);
  pulumi.runtime.setAllConfig(Object.fromEntries(entries) as Record<string, string>);
}

/** Runs the program under mocks. Returns its error and its resources. */
async function run(work: () => Promise<unknown>): Promise<{ error: unknown; registered: readonly string[] }> {
  let error: unknown;
  const { resources } = await register(async () => {
    configure();
    await work().catch((thrown: unknown) => {
      error = thrown;
    });
  });
  return { error, registered: resources.map(({ name }) => name) };
}

/** Creates a project's folder with these stacks, each with a context and a kubeconfig. */
function project(kubeconfig: string, stacks: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
  for (const [stack, context] of Object.entries(stacks)) {
    const keys = { context, kubeconfig, registry: "r.test/org" };
    const lines = Object.entries(keys).map(([key, value]) => `  dubbo-mesh:${key}: ${value}\n`);
    writeFileSync(join(directory, `Pulumi.${stack}.yaml`), `config:\n${lines.join("")}`);
  }
  return directory;
}

describe("the program", () => {
  it("is checked before it declares anything, and fails with one error and its fix", async () => {
    const fault = new UserError("the cluster is on fire", "Put it out.");
    const { error, registered } = await run(() =>
      program(async () => {
        // Delay of the cluster's answers.
        await new Promise((resolve) => setTimeout(resolve, 20));
        throw fault;
      }),
    );
    expect(pulumi.RunError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({ message: "the cluster is on fire\nPut it out.", stack: "" });
    expect(registered).toEqual([]);
  });

  it("is checked when Pulumi runs it without arguments", async () => {
    vi.stubEnv("KUBECONFIG", "/nowhere/kubeconfig");
    const { error, registered } = await run(() => program());
    vi.unstubAllEnvs();
    expect(error).toMatchObject({
      message:
        "the kubeconfig cannot be read: ENOENT: no such file or directory, open '/nowhere/kubeconfig'\nCheck its path and content.",
    });
    expect(registered).toEqual([]);
  });

  it("maps no stacks to the SDK's sources if an engine runs it", async () => {
    const current = (): unknown => Reflect.get(Error, "prepareStackTrace");
    const [before, mapping] = [current(), vi.fn()];
    Reflect.set(Error, "prepareStackTrace", mapping);
    try {
      await run(() => program(unchecked));
      expect(current()).toBe(mapping);
      vi.spyOn(pulumi.runtime, "hasEngine").mockReturnValueOnce(true);
      await run(() => program(unchecked));
      expect(current()).toBeUndefined();
    } finally {
      vi.restoreAllMocks();
      Reflect.set(Error, "prepareStackTrace", before);
    }
  });

  it("declares its resources if the checks pass", async () => {
    const { error, registered } = await run(() => program(unchecked));
    expect(error).toBeUndefined();
    expect(registered).toContain("mesh");
  });
});

describe("a stack", () => {
  it("in another stack's place is an error before the cluster is asked", async () => {
    const directory = project("/nowhere/kubeconfig", { a: "x", b: "x" });
    const raw = { context: "x", kubeconfig: "/nowhere/kubeconfig", registry: "r.test/org" };
    const placed = { directory, settings: parseSettings(raw) };
    expect(await userError(checkStack({ ...placed, stack: "a" }))).toEqual({
      message: "stacks a and b both deploy to namespace dubbo-demo of x",
      fix: "Give one of them another namespace: dubbo-mesh:namespace in Pulumi.a.yaml.",
    });
  });

  const NOWHERE =
    "the kubeconfig cannot be read: ENOENT: no such file or directory, open '/nowhere/kubeconfig'";
  const checked = async (added: string, other = ""): Promise<string> => {
    const directory = project("/nowhere/kubeconfig", { a: "x", b: "x" });
    appendFileSync(join(directory, "Pulumi.a.yaml"), added);
    appendFileSync(join(directory, "Pulumi.b.yaml"), `  dubbo-mesh:namespace: other\n${other}`);
    const raw = { context: "x", kubeconfig: "/nowhere/kubeconfig", registry: "r.test/org" };
    return (await userError(checkStack({ directory, settings: parseSettings(raw), stack: "a" }))).message;
  };

  it("whose file Pulumi reads as something else is refused by plain Pulumi, too", async () => {
    expect(await checked("  dubbo-mesh:namespace: 0123\n")).toBe(
      "dubbo-mesh:namespace: begins with a zero, so Pulumi reads it as octal: omit the zero, or use quotes",
    );
    expect(await checked("---\nconfig: {}\n")).toBe(
      "Pulumi.a.yaml cannot be read: expected a single document in the stream, but found more",
    );
  });

  it("may import ESC environments under plain Pulumi, and may stand beside one that does", async () => {
    expect(await checked("environment: [prod]\n")).toBe(NOWHERE);
    expect(await checked("", "environment: [prod]\n")).toBe(NOWHERE);
  });

  it("need not have a file of its own", async () => {
    const directory = project("/nowhere/kubeconfig", { b: "y" });
    const raw = { context: "x", kubeconfig: "/nowhere/kubeconfig", registry: "r.test/org" };
    const placed = { directory, settings: parseSettings(raw), stack: "a" };
    expect((await userError(checkStack(placed))).message).toBe(NOWHERE);
  });

  it("without a context is an error", async () => {
    const directory = project("/nowhere/kubeconfig", { a: "x", b: "y" });
    const raw = { context: "x", kubeconfig: "/nowhere/kubeconfig", registry: "r.test/org" };
    const placed = { directory, settings: parseSettings(raw) };
    expect((await userError(checkStack({ ...placed, stack: "a" }))).message).toBe(
      "the kubeconfig cannot be read: ENOENT: no such file or directory, open '/nowhere/kubeconfig'",
    );
  });
});
