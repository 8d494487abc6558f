import { chmodSync, copyFileSync, mkdtempSync, realpathSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { toYaml } from "../../../lib/yaml.ts";
import { changesBetween, declaredPart, KubectlEngine, withDigests } from "../../../tools/engine/kubectl.ts";
import type { KubernetesObject } from "../../../tools/engine/program.ts";
import { readStackFile } from "../../../tools/stack-file.ts";
import { declaredBy } from "../program.ts";
import { type Answer, fakeCommand, type FakeCommand } from "./fake-command.ts";
import { userError } from "./user-error.ts";

// The sources are not bundled: the images' builds are what is looked at here, not their content.
vi.mock("../../../apps/bundle.ts", () => ({
  bundleApplication: (application: string) => ({
    context: `apps/dist/${application}`,
    dockerfile: "apps/Dockerfile",
    tag: "0123",
  }),
}));

const CONFIG = {
  context: "minikube",
  kubeconfig: "/k",
  services: [
    { app: "provider", image: `r.test/provider@sha256:${"1".repeat(64)}` },
    { app: "consumer", image: `r.test/consumer@sha256:${"2".repeat(64)}` },
  ],
};

const SET_ID = "applyset-abc-v1";
const SET_KINDS = "Deployment.apps,EnvoyFilter.networking.istio.io,Service";

/** An object as the cluster has it: with what it adds by itself. */
function live(object: KubernetesObject, version = "1"): KubernetesObject {
  const metadata = {
    ...object.metadata,
    uid: `uid-${object.metadata.name}`,
    resourceVersion: version,
    generation: Number(version),
    creationTimestamp: "2026-01-01T00:00:00Z",
    managedFields: [{ manager: "dubbo-mesh-test", time: version }],
  };
  return { ...object, metadata, status: { observedGeneration: Number(version) } };
}

/** What `kubectl -o json` prints: one object as it is, more as a List. */
function printed(...objects: readonly KubernetesObject[]): string {
  const [first] = objects;
  const value = objects.length === 1 ? first : { apiVersion: "v1", kind: "List", items: objects };
  return `${JSON.stringify(value, null, 4)}\n`;
}

const deployment: KubernetesObject = {
  apiVersion: "apps/v1",
  kind: "Deployment",
  metadata: { name: "provider-v1", namespace: "dubbo-demo", labels: { app: "provider" } },
  spec: { replicas: 2, template: { spec: { containers: [{ name: "app", image: "r/p:1" }] } } },
};
const service: KubernetesObject = { apiVersion: "v1", kind: "Service", metadata: { name: "provider" } };

describe("the declared part of an object", () => {
  it("leaves out what the cluster adds and keeps all else", () => {
    expect(declaredPart(live(deployment))).toEqual(deployment);
    const annotated = {
      ...service,
      metadata: { name: "provider", annotations: { a: "b" } },
      data: { x: "y" },
    };
    expect(declaredPart(annotated)).toEqual(annotated);
  });
});

describe("the changes between two states", () => {
  it("are none where only versions, times and status have moved", () => {
    expect(
      changesBetween([live(deployment), live(service)], [live(service, "9"), live(deployment, "9")]),
    ).toEqual([]);
  });

  it("are told apart by kind and name", () => {
    const namesake = { ...service, kind: "ServiceAccount" };
    expect(changesBetween([live(service)], [live(service), live(namesake)])).toEqual([
      { operation: "create", target: "ServiceAccount/provider" },
    ]);
  });

  it("are creations, updates with their difference, and deletions", () => {
    const updated = { ...deployment, spec: { ...(deployment["spec"] as object), replicas: 3 } };
    const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "sa" } };
    expect(
      changesBetween([live(deployment), live(service)], [live(account, "2"), live(updated, "2")]),
    ).toEqual([
      { operation: "create", target: "ServiceAccount/sa" },
      {
        operation: "update",
        target: "Deployment/provider-v1",
        detail: [
          "     app: provider",
          " spec:",
          "-  replicas: 2",
          "+  replicas: 3",
          "   template:",
          "     spec:",
        ].join("\n"),
      },
      { operation: "delete", target: "Service/provider" },
    ]);
  });
});

describe("the kubectl engine without a state", () => {
  it("has nothing to repair", async () => {
    vi.stubEnv("PATH", "/nowhere");
    const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
    writeFileSync(join(directory, "Pulumi.test.yaml"), "config:\n  dubbo-mesh:cluster: local\n");
    expect(await new KubectlEngine(await readStackFile(directory, "test")).repair()).toBeUndefined();
    vi.unstubAllEnvs();
  });
});

describe("images by digest", () => {
  it("stand wherever the same image stood by tag, and nowhere else", () => {
    const value = { image: "r/p:1", images: ["r/p:1", "r/p:12"], "r/p:1": true, none: null, count: 1 };
    expect(withDigests(value, new Map([["r/p:1", "r/p@sha256:1"]]))).toEqual({
      image: "r/p@sha256:1",
      images: ["r/p@sha256:1", "r/p:12"],
      "r/p:1": true,
      none: null,
      count: 1,
    });
  });
});

describe("the kubectl engine", async () => {
  const { objects } = await declaredBy(CONFIG);
  const [namespace, ...members] = objects;
  if (namespace === undefined) throw new Error("the program declares nothing");
  const labelled = members.map((object) => ({
    ...object,
    metadata: { ...object.metadata, labels: { "applyset.kubernetes.io/part-of": SET_ID } },
  }));
  const names = objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`);

  const CONTEXT = ["--context", "minikube", "--kubeconfig", "/k"];
  const IN_NAMESPACE = ["--namespace", "dubbo-demo"];
  const GET_NAMESPACE = [
    ...CONTEXT,
    "get",
    "namespace",
    "dubbo-demo",
    "--ignore-not-found",
    "--show-managed-fields",
    "-o",
    "json",
  ];
  const GET_NAMESPACES = [...CONTEXT, "get", "namespaces", "--show-managed-fields", "-o", "json"];
  const NO_NAMESPACES = { stdout: JSON.stringify({ items: [] }) };
  const PARENT = "configmap/dubbo-mesh-test";
  const GET_PARENT = [...CONTEXT, "get", PARENT, "--ignore-not-found", ...IN_NAMESPACE, "-o", "json"];
  const SELECTOR = `--selector=applyset.kubernetes.io/part-of=${SET_ID}`;
  const GET_MEMBERS = [...CONTEXT, "get", SET_KINDS, SELECTOR, ...IN_NAMESPACE, "-o", "json"];
  const SERVER = [
    "apply",
    "--server-side",
    "--force-conflicts",
    "--field-manager=dubbo-mesh-test",
    "-o",
    "json",
  ];
  const SET = [...IN_NAMESPACE, "--prune", `--applyset=${PARENT}`];
  const applyNamespace = (...flags: string[]): string[] => [...CONTEXT, ...SERVER, ...flags, "-f", "-"];
  const applySet = (...flags: string[]): string[] => [...CONTEXT, ...SERVER, ...flags, ...SET, "-f", "-"];
  const rollout = (name: string): string[] => [
    ...[...CONTEXT, "rollout", "status", "--timeout=600s"],
    ...[...IN_NAMESPACE, `deployment/${name}`],
  ];
  const ROLLOUTS = [rollout("dubbo-samples-mesh-provider-v1"), rollout("dubbo-samples-mesh-consumer")];

  const parent: KubernetesObject = {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: {
      name: "dubbo-mesh-test",
      labels: { "applyset.kubernetes.io/id": SET_ID },
      annotations: { "applyset.kubernetes.io/contains-group-kinds": SET_KINDS },
    },
  };
  const before = { stdout: printed(live(namespace)) };
  /** The answers to what is there before: all that is declared. */
  const present: Answer[] = [
    before,
    { stdout: printed(parent) },
    { stdout: printed(...labelled.map((object) => live(object))) },
  ];
  const unchanged: Answer[] = [
    { stdout: printed(live(namespace, "2")) },
    { stdout: printed(...labelled.map((object) => live(object, "2"))) },
  ];

  async function engine(config: Readonly<Record<string, unknown>> = CONFIG): Promise<KubectlEngine> {
    const directory = realpathSync(mkdtempSync(join(tmpdir(), "dubbo-mesh-test-")));
    const prefixed = Object.entries(config).map(([key, value]) => [`dubbo-mesh:${key}`, value]);
    const text = toYaml({ config: Object.fromEntries(prefixed) as object });
    writeFileSync(join(directory, "Pulumi.test.yaml"), text);
    return new KubectlEngine(await readStackFile(directory, "test"));
  }

  function fakeKubectl(...answers: Answer[]): FakeCommand {
    const fake = fakeCommand("kubectl", answers);
    vi.stubEnv("PATH", fake.folder);
    return fake;
  }

  const argsOf = (fake: FakeCommand): (readonly string[])[] => fake.calls().map(({ args }) => args);
  const sent = (text: string | undefined): string[] => {
    const list = JSON.parse(text ?? "") as { apiVersion: string; kind: string; items: KubernetesObject[] };
    expect([list.apiVersion, list.kind]).toEqual(["v1", "List"]);
    return list.items.map(({ kind, metadata }) => `${kind}/${metadata.name}`);
  };

  beforeEach(() => {
    vi.spyOn(process.stderr, "write").mockReturnValue(true);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
  });

  it("brings up a new stack: the Namespace first and outside of the set, then the set, then its pods", async () => {
    const fake = fakeKubectl(
      {},
      { stdout: printed(live(namespace)) },
      { stdout: printed(...labelled) },
      {},
      {},
    );
    const { changes, outputs } = await (await engine()).up();
    expect(argsOf(fake)).toEqual([GET_NAMESPACE, applyNamespace(), applySet(), ...ROLLOUTS]);
    expect(fake.calls().map(({ env }) => env["KUBECTL_APPLYSET"])).toEqual(Array(5).fill("true"));
    const [, first, second] = fake.calls();
    expect(sent(first?.stdin)).toEqual(["Namespace/dubbo-demo"]);
    expect(sent(second?.stdin)).toEqual(names.slice(1));
    expect(JSON.parse(second?.stdin ?? "")).toMatchObject({ items: members });
    expect(changes).toEqual(names.map((target) => ({ operation: "create", target })));
    expect(outputs).toEqual({
      namespace: "dubbo-demo",
      serviceAddresses: {
        "dubbo-samples-mesh-provider": "dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local:50052",
        "dubbo-samples-mesh-consumer": "dubbo-samples-mesh-consumer.dubbo-demo.svc.cluster.local:20880",
      },
      envoyFilterNames: { "dubbo-samples-mesh-consumer": "cluster" },
      healthCheckLoad: { checksPerSecond: 0.36, perProviderPod: 0.18 },
      images: {
        "dubbo-samples-mesh-provider": `r.test/provider@sha256:${"1".repeat(64)}`,
        "dubbo-samples-mesh-consumer": `r.test/consumer@sha256:${"2".repeat(64)}`,
      },
      kubeContext: "minikube",
    });
  });

  it("changes nothing the second time", async () => {
    const fake = fakeKubectl(...present, ...unchanged, {}, {});
    expect((await (await engine()).up()).changes).toEqual([]);
    expect(argsOf(fake)).toEqual([
      ...[GET_NAMESPACE, GET_PARENT, GET_MEMBERS],
      ...[applyNamespace(), applySet(), ...ROLLOUTS],
    ]);
  });

  it("tells what was changed, and what was pruned, which is printed after the List", async () => {
    const replicas = (count: number) => (object: KubernetesObject) =>
      object.kind === "Deployment"
        ? live({ ...object, spec: { ...(object["spec"] as object), replicas: count } }, String(count))
        : live(object);
    const extra = { apiVersion: "v1", kind: "Service", metadata: { name: "old", namespace: "dubbo-demo" } };
    const more = { ...extra, kind: "ServiceAccount" };
    const [missing, ...rest] = labelled;
    const fake = fakeKubectl(
      before,
      { stdout: printed(parent) },
      { stdout: printed(...rest.map(replicas(4)), live(extra), live(more)) },
      // What was removed is pruned when all else is there and its pods are ready.
      { stdout: printed(parent) },
      {},
      {},
      {},
      { stdout: printed(live(namespace, "2")) },
      { stdout: printed(...labelled.map(replicas(5))) + printed(extra) + printed(more) },
      {},
      {},
    );
    const { changes } = await (await engine()).up();
    const [, , , , first] = fake.calls();
    expect(first?.args.join(" ")).not.toContain("prune");
    expect(sent(first?.stdin)).toEqual(names.slice(1));
    expect(argsOf(fake).slice(5, 7)).toEqual(ROLLOUTS);
    const byOperation = (wanted: string): string[] =>
      changes.filter(({ operation }) => operation === wanted).map(({ target }) => target);
    expect(changes).toHaveLength(5);
    expect(byOperation("create")).toEqual([`${missing?.kind ?? ""}/${missing?.metadata.name ?? ""}`]);
    expect(byOperation("update")).toEqual(names.filter((name) => name.startsWith("Deployment/")));
    expect(byOperation("delete")).toEqual(["Service/old", "ServiceAccount/old"]);
    expect(changes.find(({ operation }) => operation === "update")?.detail).toContain(
      "-  replicas: 4\n+  replicas: 5\n",
    );
  });

  it("takes a namespace without a set as it is", async () => {
    const fake = fakeKubectl({ stdout: printed(live(namespace)) }, {}, ...unchanged, {}, {});
    const { changes } = await (await engine()).up();
    expect(argsOf(fake).slice(0, 3)).toEqual([GET_NAMESPACE, GET_PARENT, applyNamespace()]);
    expect(changes).toEqual(names.slice(1).map((target) => ({ operation: "create", target })));
  });

  it("takes a set without members as it is", async () => {
    const annotations = { "applyset.kubernetes.io/contains-group-kinds": "" };
    const empty = { ...parent, metadata: { ...parent.metadata, annotations } };
    fakeKubectl({ stdout: printed(live(namespace)) }, { stdout: printed(empty) }, ...unchanged, {}, {});
    expect((await (await engine()).up()).changes).toHaveLength(members.length);
  });

  it("previews all as new where the namespace is absent, and asks the cluster nothing else", async () => {
    const fake = fakeKubectl({}, NO_NAMESPACES);
    expect(await (await engine()).preview()).toEqual({
      changes: names.map((target) => ({ operation: "create", target })),
      warnings: [],
    });
    expect(argsOf(fake)).toEqual([GET_NAMESPACE, GET_NAMESPACES]);
  });

  describe("warns of what calls would feel", () => {
    const relay = ["Service", "Deployment", "ConfigMap"].map((kind): KubernetesObject => ({
      apiVersion: "v1",
      kind,
      metadata: { name: "relay" },
    }));
    const withRelay: Answer[] = [
      before,
      { stdout: printed(parent) },
      { stdout: printed(...[...labelled, ...relay].map((object) => live(object))) },
    ];
    const warnings = [
      {
        target: "Service/relay",
        text: "relay cannot be called any more; no service of the stack calls it, others may.",
      },
    ];

    it("where objects are pruned, with its preview and without", async () => {
      fakeKubectl(before, ...withRelay, ...unchanged);
      expect((await (await engine()).preview()).warnings).toEqual(warnings);
      const fake = fakeKubectl(...withRelay);
      expect(await (await engine()).warnings()).toEqual(warnings);
      expect(argsOf(fake)).toEqual([GET_NAMESPACE, GET_PARENT, GET_MEMBERS]);
    });

    it("and not where all stays", async () => {
      fakeKubectl(...present);
      expect(await (await engine()).warnings()).toEqual([]);
    });

    it("where the stack is made anew in another namespace, which it leaves behind", async () => {
      const other = live({ ...namespace, metadata: { name: "dubbo-old" } });
      const foreign = { ...other, metadata: { ...other.metadata, name: "x", managedFields: [] } };
      const list = { stdout: JSON.stringify({ items: [other, foreign] }) };
      const left = [
        {
          target: "Namespace/dubbo-old",
          text:
            "dubbo-old stays with all that runs in it: this engine removes nothing outside of dubbo-demo, and changes nothing there any more. " +
            "Calls to its addresses go on, to what runs there now; delete it when nobody makes any.",
        },
      ];
      fakeKubectl({}, list);
      expect(await (await engine()).warnings()).toEqual(left);
      fakeKubectl({}, list);
      expect((await (await engine()).preview()).warnings).toEqual(left);
    });

    it("and protects nothing", async () => {
      const fake = fakeKubectl();
      await (await engine()).unprotect();
      expect(argsOf(fake)).toEqual([]);
    });
  });

  it("tells of drift what its preview tells: it knows the cluster and the program alone", async () => {
    const fake = fakeKubectl({}, NO_NAMESPACES);
    expect(await (await engine()).drift()).toHaveLength(names.length);
    expect(argsOf(fake)).toEqual([GET_NAMESPACE, GET_NAMESPACES]);
  });

  it("previews by the server's dry run, and sends nothing else", async () => {
    const fake = fakeKubectl(before, ...present, ...unchanged);
    expect(await (await engine()).preview()).toEqual({ changes: [], warnings: [] });
    const dry = "--dry-run=server";
    expect(argsOf(fake).filter((args) => args.includes("apply"))).toEqual([
      applyNamespace(dry),
      applySet(dry),
    ]);
    expect(argsOf(fake).filter((args) => !args.includes("apply") && !args.includes("get"))).toEqual([]);
  });

  it("removes the objects in reverse order, and the Namespace when they are gone", async () => {
    const fake = fakeKubectl(before, {}, {});
    await (await engine()).down();
    const REMOVE = [...CONTEXT, "delete", "--ignore-not-found", "--wait", "--cascade=foreground", "-f", "-"];
    expect(argsOf(fake)).toEqual([GET_NAMESPACE, REMOVE, REMOVE]);
    const [, members, last] = fake.calls();
    expect(sent(members?.stdin)).toEqual(names.slice(1).reverse());
    expect(sent(last?.stdin)).toEqual(["Namespace/dubbo-demo"]);
  });

  it("removes nothing where there is nothing", async () => {
    const fake = fakeKubectl({});
    await (await engine()).down();
    expect(argsOf(fake)).toEqual([GET_NAMESPACE]);
  });

  it.each(["up", "preview", "down"] as const)(
    "leaves a namespace that it has not made alone: %s",
    async (command) => {
      const foreign = {
        ...live(namespace),
        metadata: { ...namespace.metadata, managedFields: [{ manager: "helm" }] },
      };
      const fake = fakeKubectl({ stdout: printed(foreign) });
      expect(await userError((await engine())[command]())).toEqual({
        message: "context minikube has a namespace dubbo-demo that stack test has not made",
        fix: "Set another namespace (dubbo-mesh:namespace), or delete that one if nobody needs it.",
      });
      expect(argsOf(fake)).toEqual([GET_NAMESPACE]);
    },
  );

  it.each(["up", "preview", "down"] as const)(
    "brings no Istio about, and asks for nothing: %s",
    async (command) => {
      const fake = fakeKubectl();
      const installing = await engine({ ...CONFIG, istio: { mode: "install" } });
      expect(await userError(installing[command]())).toEqual({
        message:
          "dubbo-mesh:istio.mode is install, which takes Helm releases: kubectl can neither apply nor render them",
        fix: "Install the Pulumi CLI, or install Istio by other means and leave istio.mode out; `make up` checks it.",
      });
      expect(argsOf(fake)).toEqual([]);
    },
  );

  it("stops at the first call that fails", async () => {
    const stderr = "Error from server (Forbidden): namespaces is forbidden";
    const fake = fakeKubectl({}, { stderr: `${stderr}\n`, code: 1 });
    expect(await userError((await engine()).up())).toEqual({
      message: `kubectl failed: ${stderr}`,
      fix: "Mend what it names and run the command again.",
    });
    expect(argsOf(fake)).toEqual([GET_NAMESPACE, applyNamespace()]);
  });

  describe("with images to build", () => {
    const BUILT = { context: "minikube", kubeconfig: "/k", registry: "r.test/org" };
    const reference = (application: string): string => `r.test/org/dubbo-samples-mesh-${application}:0123`;
    const digest = (application: string): string => `r.test/org/dubbo-samples-mesh-${application}@sha256:9`;
    const imagesIn = (text: string | undefined): unknown =>
      [...(text ?? "").matchAll(/"image":"([^"]*)"/g)].map(([, image]) => image);
    const digests = ["provider", "consumer"].map((name) => ({ stdout: JSON.stringify([digest(name)]) }));

    /** Both commands in one folder. */
    function fakes(kubectl: readonly Answer[], docker: readonly Answer[]): [FakeCommand, FakeCommand] {
      const both = [fakeCommand("kubectl", kubectl), fakeCommand("docker", docker)] as const;
      copyFileSync(join(both[1].folder, "docker"), join(both[0].folder, "docker"));
      chmodSync(join(both[0].folder, "docker"), 0o755);
      vi.stubEnv("PATH", both[0].folder);
      return [...both];
    }

    it("applies and puts out what was pushed, by digest", async () => {
      const [provider = {}, consumer = {}] = digests;
      const [kubectl, docker] = fakes(
        [{}, { stdout: printed(live(namespace)) }, { stdout: printed(...labelled) }, {}, {}],
        [{}, {}, provider, {}, {}, consumer],
      );
      const { outputs } = await (await engine(BUILT)).up();
      expect(docker.calls().map(({ args }) => args.at(-1))).toEqual([
        ...Array<string>(3).fill(reference("provider")),
        ...Array<string>(3).fill(reference("consumer")),
      ]);
      expect(imagesIn(kubectl.calls()[2]?.stdin)).toEqual([digest("provider"), digest("consumer")]);
      expect(outputs).toMatchObject({
        images: {
          "dubbo-samples-mesh-provider": digest("provider"),
          "dubbo-samples-mesh-consumer": digest("consumer"),
        },
      });
    });

    it("previews with the digests of images that exist, so that an unchanged preview is empty", async () => {
      const [kubectl, docker] = fakes([before, ...present, ...unchanged], digests);
      await (await engine(BUILT)).preview();
      expect(imagesIn(kubectl.calls().at(-1)?.stdin)).toEqual([digest("provider"), digest("consumer")]);
      expect(docker.calls().map(({ args }) => args.slice(0, 2))).toEqual(Array(2).fill(["image", "inspect"]));
    });

    it("previews an image that does not exist yet by its tag", async () => {
      const [provider = {}] = digests;
      const [kubectl] = fakes([before, ...present, ...unchanged], [provider, { code: 1 }]);
      await (await engine(BUILT)).preview();
      expect(imagesIn(kubectl.calls().at(-1)?.stdin)).toEqual([digest("provider"), reference("consumer")]);
    });
  });
});
