import { describe, expect, it } from "vitest";
import { UserError } from "../../../common/errors.ts";
import type { StackFile } from "../../../stack/stack-file.ts";
import { choosePod, dump, logs, logsText, shell } from "../../../tools/operate.ts";
import { podSample } from "../../../tools/verify/sample.ts";
import { userError } from "../tools/user-error.ts";
import { podOf, RecordedMesh, recording, SETTINGS } from "./recorded.ts";

const LOOK = recording("good", "after");
const PODS = LOOK.pods.map(podSample);
const FILE: StackFile = {
  stack: "dev",
  directory: "",
  path: "",
  overridden: false,
  raw: {},
  encrypted: [],
  settings: SETTINGS,
};

describe("a pod by its name", () => {
  it("is that pod, and without a name the first", () => {
    expect(choosePod(PODS, PODS[2]?.name)).toBe(PODS[2]);
    expect(choosePod(PODS)).toBe(PODS[0]);
  });

  it("that is wrong is an error that lists the pods", () => {
    const fix =
      "Choose one of dubbo-samples-mesh-consumer-5cf59dcb4b-z42cp, dubbo-samples-mesh-provider-v1-cc5f8654d-cw9kq, " +
      "dubbo-samples-mesh-provider-v1-cc5f8654d-zhb2j (POD=NAME).";
    expect(() => choosePod(PODS, "web")).toThrow(new UserError("the stack has no pod web", fix));
    expect(() => choosePod([], "web")).toThrow(
      new UserError("the stack has no pods", "Run `make up` first."),
    );
  });
});

describe("dump", () => {
  it("is all that the consumer's Envoy is configured with", async () => {
    expect(await dump(FILE, undefined, new RecordedMesh(LOOK))).toBe(JSON.stringify(LOOK.checked));
  });

  it("needs a pod with a sidecar", async () => {
    const text = JSON.stringify(LOOK.pods).replaceAll('"name":"istio-proxy"', '"name":"other"');
    const bare = { ...LOOK, pods: (JSON.parse(text) as object[]).map(podOf) };
    expect(await userError(dump(FILE, PODS[1]?.name, new RecordedMesh(bare)))).toEqual({
      message: "pod dubbo-samples-mesh-provider-v1-cc5f8654d-cw9kq has no istio-proxy",
      fix: "Set dubbo-mesh:injection to true, run `make up`, and restart the pod: Istio injects when a pod is created.",
    });
  });
});

describe("logs", () => {
  it("are of the sidecars of all pods, or of one", async () => {
    const all = await logs(FILE, { proxy: true }, new RecordedMesh(LOOK));
    expect(all.map(({ pod, container, lines }) => [pod, container, lines])).toEqual(
      PODS.map(({ name }) => [name, "istio-proxy", LOOK.logs[name]]),
    );
    const one = await logs(FILE, { proxy: true, pod: PODS[1]?.name }, new RecordedMesh(LOOK));
    expect(one).toEqual([all[1]]);
  });

  it("name the pod of each line where there are several", () => {
    const log = (pod: string): { pod: string; container: string; lines: string[] } => ({
      pod,
      container: "app",
      lines: ["one", "two"],
    });
    expect(logsText([log("a"), log("b")])).toBe("a  one\na  two\nb  one\nb  two");
    expect(logsText([log("a")])).toBe("one\ntwo");
  });
});

describe("a shell", () => {
  it("needs a terminal", async () => {
    expect(process.stdin.isTTY).toBeFalsy();
    expect(await userError(shell(FILE))).toEqual({
      message: "a shell needs a terminal, and standard input is none",
      fix: "Run `make shell` in a terminal.",
    });
  });
});
