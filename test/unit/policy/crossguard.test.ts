import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { credentials } from "@grpc/grpc-js";
import analyzer from "@pulumi/pulumi/proto/analyzer_grpc_pb.js";
import messages from "@pulumi/pulumi/proto/analyzer_pb.js";
import empty from "google-protobuf/google/protobuf/empty_pb.js";
import struct from "google-protobuf/google/protobuf/struct_pb.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { RULES } from "../../../policy/rules.ts";
import type { KubernetesObject } from "../../../common/kubernetes-object.ts";
import { all, type Change, ROOT, set, stackObjects } from "./support.ts";

/**
 * Text that a preview does not know, as Pulumi's engine passes it.
 * Source: Pulumi's pkg/resource/plugin, UnknownStringValue.
 */
const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
const IMAGE = "spec/template/spec/containers/0/image";

let pack: ChildProcess;
let client: InstanceType<typeof analyzer.AnalyzerClient>;
let objects: readonly KubernetesObject[];

/** Gives all Deployments an image. */
function images(image: string): Change {
  const titles = ["provider-v1", "provider-v2", "consumer"].map(
    (name) => `Deployment dubbo-samples-mesh-${name}`,
  );
  return all(...titles.map((title) => set(title, IMAGE, image)));
}

/** A resource as the engine hands it over. */
function resourceOf(
  type: string,
  name: string,
  props: object,
): InstanceType<typeof messages.AnalyzerResource> {
  const plain = props as Parameters<typeof struct.Struct.fromJavaScript>[0];
  return new messages.AnalyzerResource()
    .setType(type)
    .setName(name)
    .setOptions(new messages.AnalyzerResourceOptions())
    .setUrn(`urn:pulumi:canary::dubbo-mesh::${type}::${name}`)
    .setProperties(struct.Struct.fromJavaScript(plain));
}

/** Returns the pack's findings on a stack, as at the end of a preview: level, resource, message. */
async function saidOf(change: Change): Promise<string[]> {
  const declared = change(objects).map((object) =>
    resourceOf(`kubernetes:x/v1:${object.kind}`, object.metadata.name, object),
  );
  const request = new messages.AnalyzeStackRequest().setResourcesList([
    resourceOf("pulumi:pulumi:Stack", "canary", {}),
    resourceOf("pulumi:providers:kubernetes", "kubernetes", { context: "c" }),
    resourceOf("kubernetes:helm.sh/v3:Release", "chart", { name: "chart" }),
    ...declared,
  ]);
  const response = await new Promise<InstanceType<typeof messages.AnalyzeResponse>>((resolve, reject) => {
    client.analyzeStack(request, (error, answer) => {
      if (error === null) resolve(answer);
      else reject(error);
    });
  });
  return response.getDiagnosticsList().map((each) => {
    const level =
      each.getEnforcementlevel() === messages.EnforcementLevel.MANDATORY ? "mandatory" : "advisory";
    return `${level} ${each.getPolicyname()} ${each.getUrn()} ${each.getMessage()}`;
  });
}

beforeAll(async () => {
  // Like Pulumi's language host. The pack never calls the engine, whose address comes first.
  const host = join(ROOT, "node_modules/@pulumi/pulumi/cmd/run-policy-pack");
  pack = spawn(process.execPath, [host, "127.0.0.1:1", join(ROOT, "policy/pack")], {
    env: { ...process.env, NODE_OPTIONS: "" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (pack.stdout === null) throw new Error("the pack has no standard output");
  const [port] = (await once(createInterface(pack.stdout), "line")) as [string];
  client = new analyzer.AnalyzerClient(`127.0.0.1:${port}`, credentials.createInsecure());
  objects = await stackObjects("canary");
}, 30_000);

afterAll(() => {
  client.close();
  pack.kill();
});

describe("the policy pack", () => {
  it("has each rule as a policy: mandatory where it is an error", async () => {
    const info = await new Promise<InstanceType<typeof messages.AnalyzerInfo>>((resolve, reject) => {
      client.getAnalyzerInfo(new empty.Empty(), (error, answer) => {
        if (error === null) resolve(answer);
        else reject(error);
      });
    });
    const { MANDATORY, ADVISORY } = messages.EnforcementLevel;
    expect(info.getName()).toBe("dubbo-mesh");
    expect(
      info
        .getPoliciesList()
        .map((policy) => [policy.getName(), policy.getDescription(), policy.getEnforcementlevel()]),
    ).toEqual(RULES.map(({ id, text, severity }) => [id, text, severity === "error" ? MANDATORY : ADVISORY]));
  });

  it("has nothing against images that a preview does not know yet", async () => {
    expect(await saidOf(images(UNKNOWN))).toEqual([]);
  });

  it("says what is wrong with which resource, and what to do", async () => {
    const urn = (kind: string, name: string): string =>
      `urn:pulumi:canary::dubbo-mesh::kubernetes:x/v1:${kind}::${name}`;
    const changed = all(
      set("PeerAuthentication default", "spec/mtls/mode", "PERMISSIVE"),
      set("VirtualService dubbo-samples-mesh-provider", "spec/http/1/retries", undefined),
      images("r.test/app@sha256:0000"),
    );
    expect(await saidOf(changed)).toEqual([
      `advisory retries-said ${urn("VirtualService", "dubbo-samples-mesh-provider")} ` +
        "Routes say which retries Envoy makes, so that they do not multiply with Dubbo's.\n" +
        "VirtualService dubbo-canary/dubbo-samples-mesh-provider spec.http[1].retries: " +
        "is not set: Istio makes two, on unavailable and cancelled too, times Dubbo's own. " +
        "Set retries on the route, also { attempts: 0 }, in a VirtualService for the mesh, and retries=0 in the Dubbo consumer. " +
        "(https://istio.io/latest/docs/concepts/traffic-management/#retries)",
      `mandatory mtls-strict ${urn("PeerAuthentication", "default")} No policy lets plaintext in at a Triple port.\n` +
        "PeerAuthentication dubbo-canary/default spec.mtls.mode: is PERMISSIVE: a Triple port takes plaintext. " +
        "Set mode: STRICT for the port, or UNSET where the namespace or the mesh is STRICT. " +
        "(https://istio.io/latest/docs/reference/config/security/peer_authentication/)",
    ]);
  });
});
