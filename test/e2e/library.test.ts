import { cpSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { LocalWorkspace, type Stack } from "@pulumi/pulumi/automation/index.js";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeArtifact } from "../../common/artifacts/artifact.ts";
import { goArtifact } from "../../common/artifacts/go.ts";
import { CONTEXT, KUBECONFIG, localKubectl } from "../../common/local-cluster.ts";
import { step } from "../../common/steps.ts";
import { findEngine } from "../../tools/engine/find.ts";
import type { UpReport } from "../../tools/up.ts";
import { make, PROJECT_DIRECTORY, writeStack } from "./make.ts";

const LIBRARY = join(PROJECT_DIRECTORY, "packages/dubbo-mesh");
const NAMESPACES = { stack: "shop-stack", typescript: "shop-typescript", yaml: "shop-yaml" };
const GREETER = "org.apache.dubbo.samples.Greeter";

/** The mesh of examples/, as a stack of this program. */
const SHOP = [
  {
    app: "provider",
    name: "orders",
    offers: [GREETER],
    methods: { [`/${GREETER}/greet`]: { idempotent: true } },
  },
  { app: "consumer", name: "web", port: 20880, calls: ["orders"] },
];

/** Kinds of the objects of a mesh. */
const KINDS = [
  "namespaces",
  "serviceaccounts",
  "roles",
  "rolebindings",
  "services",
  "deployments",
  "poddisruptionbudgets",
  "destinationrules",
  "virtualservices",
  "envoyfilters",
  "sidecars",
  "peerauthentications",
  "authorizationpolicies",
  "telemetries",
];

interface LiveObject {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: object; readonly annotations?: object };
  readonly [field: string]: unknown;
}

/**
 * Returns the objects of a namespace, sorted and without the fields that Kubernetes writes. The
 * namespace becomes NS.
 */
async function objectsOf(namespace: string): Promise<object[]> {
  const [kubectl = "kubectl", ...first] = localKubectl();
  const get = async (kinds: string, ...which: string[]): Promise<string> => {
    const args = [...first, "--kubeconfig", KUBECONFIG, "get", kinds, ...which, "--output", "json"];
    return (await execa(kubectl, args)).stdout;
  };
  const all = await get(KINDS.slice(1).join(","), "--namespace", namespace);
  const { items } = JSON.parse(all) as { items: LiveObject[] };
  const objects = [...items, JSON.parse(await get("namespaces", namespace)) as LiveObject];
  const made = objects
    .filter(({ kind, metadata }) => !(kind === "ServiceAccount" && metadata.name === "default"))
    .map(({ apiVersion, kind, metadata, spec, rules, roleRef, subjects }) => {
      const { name, labels, annotations } = metadata;
      const { clusterIP, clusterIPs, ...own } = (spec ?? {}) as Readonly<Record<string, unknown>>;
      expect([clusterIP, clusterIPs].filter(Boolean)).toHaveLength(kind === "Service" ? 2 : 0);
      return { apiVersion, kind, name, labels, annotations, spec: own, rules, roleRef, subjects };
    });
  const text = JSON.stringify(made).replaceAll(namespace, "NS");
  return (JSON.parse(text) as { kind: string; name: string }[]).sort((a, b) =>
    `${a.kind}/${a.name}` < `${b.kind}/${b.name}` ? -1 : 1,
  );
}

/** Copies an example to a new folder, and installs the packed library there. */
async function copyOf(example: "typescript" | "yaml", tarball: string): Promise<string> {
  const folder = join(mkdtempSync(join(tmpdir(), "dubbo-mesh-library-")), "examples", example);
  cpSync(join(LIBRARY, "examples", example), folder, { recursive: true });
  // The YAML example names the folder plugin/ two levels up, so the package goes there.
  const at = example === "yaml" ? dirname(dirname(folder)) : folder;
  const packages = [tarball, ...(example === "typescript" ? ["@types/node", "typescript"] : [])];
  await execa("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", ...packages], { cwd: at });
  if (example === "yaml") cpSync(join(at, "node_modules/dubbo-mesh"), at, { recursive: true });
  return folder;
}

const yamlHost = goArtifact({
  name: "pulumi-language-yaml",
  folder: join(import.meta.dirname, "yaml-host"),
  package: "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml",
  variables: {},
  minutes: "2 min",
  gib: 1,
});

async function stackOf(workDir: string, images: Readonly<Record<string, string>>): Promise<Stack> {
  const { command, env } = await findEngine();
  const path = [dirname(yamlHost.file), env["PATH"] ?? process.env["PATH"]].join(delimiter);
  const stack = await LocalWorkspace.createOrSelectStack(
    { stackName: "e2e", workDir },
    { pulumiCommand: command, envVars: { ...env, PATH: path, PULUMI_CONFIG_PASSPHRASE: "" } },
  );
  const config = { context: CONTEXT, kubeconfig: KUBECONFIG, ...images };
  await stack.setAllConfig(
    Object.fromEntries(Object.entries(config).map(([key, value]) => [key, { value }])),
  );
  return stack;
}

const stacks: Stack[] = [];
let expected: object[] = [];
let images: Record<string, string> = {};
let tarball = "";

beforeAll(async () => {
  writeStack({ namespace: NAMESPACES.stack, services: SHOP });
  const { result } = await make<UpReport>("up", "JSON=1");
  images = result.outputs["images"] as Record<string, string>;
  expected = await objectsOf(NAMESPACES.stack);
  const destination = mkdtempSync(join(tmpdir(), "dubbo-mesh-pack-"));
  await step("npm pack", () => execa("npm", ["pack", "--pack-destination", destination], { cwd: LIBRARY }));
  tarball = join(destination, "dubbo-mesh-0.1.0.tgz");
});

afterAll(async () => {
  for (const stack of stacks) await step("pulumi destroy", () => stack.destroy());
  await make("down");
});

describe("the library deploys the same objects as this program", () => {
  it("with a mesh of two services as reference", () => {
    expect(expected).toHaveLength(18);
    expect(Object.keys(images)).toEqual(["orders", "web"]);
  });

  it("from a TypeScript program that installs the package", async () => {
    const folder = await copyOf("typescript", tarball);
    await execa("tsc", ["--project", folder], { preferLocal: true, localDir: PROJECT_DIRECTORY });
    const stack = await stackOf(folder, images);
    stacks.push(stack);
    const { outputs } = await step("pulumi up", () => stack.up());
    expect(outputs["addresses"]?.value).toEqual({
      orders: "orders.shop-typescript.svc.cluster.local:50052",
      web: "web.shop-typescript.svc.cluster.local:20880",
    });
    expect(await objectsOf(NAMESPACES.typescript)).toEqual(expected);
  });

  it("from a YAML program that uses the plugin", async () => {
    await makeArtifact(yamlHost);
    const stack = await stackOf(await copyOf("yaml", tarball), images);
    stacks.push(stack);
    await step("pulumi up", () => stack.up());
    expect(await objectsOf(NAMESPACES.yaml)).toEqual(expected);
  });
});
