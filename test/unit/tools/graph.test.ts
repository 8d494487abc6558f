import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { parseSettings } from "../../../settings/settings.ts";
import { readStackFile } from "../../../stack/stack-file.ts";
import { mermaid, meshGraph } from "../../../tools/graph.ts";

const ROOT = resolve(import.meta.dirname, "../../..");

const ofStack = async (stack: string): Promise<string> =>
  mermaid(meshGraph((await readStackFile(ROOT, stack)).settings));

const of = (raw: Record<string, string>): string[] =>
  mermaid(meshGraph(parseSettings({ cluster: "local", ...raw }))).split("\n");

const CANARY = `flowchart LR
  subgraph mesh["namespace dubbo-canary"]
    s0["dubbo-samples-mesh-provider<br/>port 50052, as dubbo-sa"]
    s0v0["v1<br/>2 pods"]
    s0v1["v2<br/>2 pods"]
    s1["dubbo-samples-mesh-consumer<br/>port 20880, as dubbo-sa<br/>1 pod"]
  end
  s0 -->|"80 %"| s0v0
  s0 -->|"20 %"| s0v1
  s1 -->|"calls, within 30s"| s0
  s1 -.->|"checks every 5s<br/>out after 1 failure"| s0`;

const DEV = `flowchart LR
  subgraph mesh["namespace dubbo-demo"]
    s0["dubbo-samples-mesh-provider<br/>port 50052, as dubbo-sa"]
    s0v0["v1<br/>2 pods"]
    s1["dubbo-samples-mesh-consumer<br/>port 20880, as dubbo-sa<br/>1 pod"]
  end
  s0 -->|"100 %"| s0v0
  s1 -->|"calls, within 30s"| s0
  s1 -.->|"checks every 5s<br/>out after 1 failure"| s0`;

describe("the picture of a mesh", () => {
  it("shows canary, and dev", async () => {
    expect(await ofStack("canary")).toBe(CANARY);
    expect(await ofStack("dev")).toBe(DEV);
  });

  it("is in the README, for canary", () => {
    const readme = readFileSync(resolve(ROOT, "README.md"), "utf8");
    const blocks = [...readme.matchAll(/^```mermaid\n([^]*?)\n```$/gm)].map(([, text]) => text);
    expect(blocks).toEqual([CANARY]);
  });

  it("shows identities, autoscaled pods and each service's check", async () => {
    const lines = (await ofStack("prod")).split("\n").map((line) => line.trim());
    expect(lines).toContain(
      's0["dubbo-samples-mesh-provider<br/>port 50052, as dubbo-samples-mesh-provider"]',
    );
    expect(lines).toContain('s0v0["v1<br/>3 to 10 pods"]');
    const check = "{ profile: fast, unhealthy_threshold: 3 }";
    expect(
      of({ services: `[{app: provider, healthCheck: ${check}}, {app: consumer, timeout: 15s}]` }),
    ).toEqual(
      expect.arrayContaining([
        '  s1 -->|"calls, within 15s"| s0',
        '  s1 -.->|"checks every 0.5s<br/>out after 3 failures"| s0',
      ]),
    );
  });

  it("has no checks without sidecars", () => {
    const lines = of({ injection: "false" });
    expect(lines.filter((line) => line.includes("-->"))).toHaveLength(2);
    expect(lines.filter((line) => line.includes("-.->"))).toEqual([]);
  });

  it("shows services that call each other", () => {
    const services =
      "[{name: a, image: 'x:1', port: 1024, offers: [p.A], calls: [b]}, {name: b, image: 'x:1', port: 1025, offers: [p.B], calls: [a]}]";
    expect(of({ services }).filter((line) => line.includes("calls"))).toEqual([
      '  s0 -->|"calls, within 30s"| s1',
      '  s1 -->|"calls, within 30s"| s0',
    ]);
  });

  it("escapes Mermaid's syntax", () => {
    const service = { name: 'a"]#<b>`&', port: 1, account: "x", isCalled: false, versions: [] };
    const graph = { namespace: "n", services: [service], calls: [], checks: [] };
    expect(mermaid(graph).split("\n")[2]).toBe('    s0["a#34;]#35;#60;b#62;#96;#38;<br/>port 1, as x"]');
  });
});

describe("the graph of a mesh", () => {
  it("has nodes and edges", async () => {
    const { settings } = await readStackFile(ROOT, "canary");
    const [provider, consumer] = ["dubbo-samples-mesh-provider", "dubbo-samples-mesh-consumer"];
    const pods = { minPods: 2, maxPods: 2 };
    expect(meshGraph(settings)).toEqual({
      namespace: "dubbo-canary",
      services: [
        {
          name: provider,
          port: 50052,
          account: "dubbo-sa",
          isCalled: true,
          versions: [
            { name: "v1", weight: 80, ...pods },
            { name: "v2", weight: 20, ...pods },
          ],
        },
        {
          name: consumer,
          port: 20880,
          account: "dubbo-sa",
          isCalled: false,
          versions: [{ name: "v1", weight: 100, minPods: 1, maxPods: 1 }],
        },
      ],
      calls: [{ caller: consumer, callee: provider, deadline: "30s" }],
      checks: [{ caller: consumer, callee: provider, interval: "5s", threshold: 1 }],
    });
  });
});
