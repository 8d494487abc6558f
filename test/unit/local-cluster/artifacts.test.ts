import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isMade, keyOf, makeArtifact, type Artifact } from "../../../common/artifacts/artifact.ts";
import { MIN_GO } from "../../../common/artifacts/go.ts";
import { fetching } from "../../../common/artifacts/fetch.ts";
import { mirrorOf } from "../../../packages/local-cluster/artifacts.ts";

import { UserError } from "../../../common/errors.ts";
import * as versions from "../../../packages/local-cluster/versions.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "artifacts-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function artifact(key: string, make: Artifact["make"]): Artifact {
  return { file: join(folder, "thing"), key, title: "make a thing", make };
}

describe("makeArtifact", () => {
  const writing =
    (text: string): Artifact["make"] =>
    (to) => {
      writeFileSync(to, text);
      return Promise.resolve();
    };

  it("makes an artifact once per key", async () => {
    await makeArtifact(artifact("a", writing("one")));
    await makeArtifact(artifact("a", writing("two")));
    expect(readFileSync(join(folder, "thing"), "utf8")).toBe("one");
    await makeArtifact(artifact("b", writing("three")));
    expect(readFileSync(join(folder, "thing"), "utf8")).toBe("three");
    expect(readdirSync(folder).sort()).toEqual(["thing", "thing.key"]);
  });

  it("keeps the old artifact if making fails, and can be run again", async () => {
    await makeArtifact(artifact("a", writing("one")));
    const failing = artifact("b", () => Promise.reject(new Error("broken")));
    await expect(makeArtifact(failing)).rejects.toThrow("broken");
    expect(readdirSync(folder).sort()).toEqual(["thing", "thing.key"]);
    expect(isMade(artifact("a", writing("")))).toBe(true);
    await makeArtifact(artifact("b", writing("two")));
    expect(isMade(artifact("b", writing("")))).toBe(true);
  });

  it("removes the files of an interrupted run", async () => {
    mkdirSync(join(folder, "a.tmpXYZ"));
    writeFileSync(join(folder, "a.tmpXYZ", "half"), "");
    await makeArtifact(artifact("a", writing("one")));
    expect(readdirSync(folder).sort()).toEqual(["thing", "thing.key"]);
  });

  it("makes a file again that has no key", () => {
    writeFileSync(join(folder, "thing"), "");
    expect(isMade(artifact("a", writing("")))).toBe(false);
  });
});

describe("keyOf", () => {
  it("distinguishes lists of inputs", () => {
    const keys = [keyOf("a", "b"), keyOf("ab"), keyOf("b", "a"), keyOf("a,b")];
    expect(new Set(keys).size).toBe(4);
    expect(keyOf("a", "b")).toBe(keys[0]);
  });
});

describe("mirrorOf", () => {
  const targets = "bookworm-security main http://mirror/security/\nbookworm main http://mirror/debian/\n";

  it("finds the mirror of the suite in apt's sources", () => {
    expect(mirrorOf(targets, "bookworm")).toBe("http://mirror/debian");
  });

  it("finds nothing on another distribution", () => {
    expect(mirrorOf("noble main http://mirror/ubuntu/\n", "bookworm")).toBeUndefined();
  });
});

describe("fetching", () => {
  const command = (script: string): readonly [string, ...string[]] => [process.execPath, "-e", script];

  it("names a registry that does not answer, after the last try", async () => {
    const log = join(folder, "tries");
    const script = `require("fs").appendFileSync(${JSON.stringify(log)}, "x"); console.error("connect ECONNREFUSED 127.0.0.1:9"); process.exit(1)`;
    const error: unknown = await fetching(
      { registry: "the npm registry", command: command(script) },
      [1, 1],
    ).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).message).toMatch(/^the npm registry does not answer: .*ECONNREFUSED/s);
    expect((error as UserError).fix).toBe(
      "Check the network and run the command again; finished parts are kept.",
    );
    expect(readFileSync(log, "utf8")).toBe("xxx");
  });

  it("succeeds after a failed try", async () => {
    const log = join(folder, "tries");
    const script = `const fs = require("fs"), log = ${JSON.stringify(log)};
      if (fs.existsSync(log)) console.log("done"); else { fs.writeFileSync(log, ""); console.error("i/o timeout"); process.exit(1) }`;
    expect(await fetching({ registry: "x", command: command(script) }, [1])).toBe("done");
  });

  it("does not retry other errors", async () => {
    const log = join(folder, "tries");
    const script = `require("fs").appendFileSync(${JSON.stringify(log)}, "x"); console.error("syntax error"); process.exit(1)`;
    await expect(fetching({ registry: "x", command: command(script) }, [1, 1])).rejects.toThrow(
      "syntax error",
    );
    expect(readFileSync(log, "utf8")).toBe("x");
  });
});

describe("versions", () => {
  const modules = (name: string): string =>
    readFileSync(join(import.meta.dirname, "../../../packages/local-cluster/build", name, "go.mod"), "utf8");

  it("match the go.mod files", () => {
    const kube = modules("kube");
    expect(kube).toContain(`k8s.io/kubernetes ${versions.KUBERNETES}\n`);
    const replaced = [...kube.matchAll(/^\s*(?:replace )?k8s\.io\/\S+ => k8s\.io\/\S+ (\S+)$/gm)].map(
      ([, to]) => to,
    );
    expect(replaced.length).toBeGreaterThan(25);
    expect(new Set(replaced)).toEqual(new Set([versions.KUBERNETES.replace("v1.", "v0.")]));
    expect(modules("istio")).toContain(`istio.io/istio ${versions.ISTIO} `);
    expect(kube).toContain(`sigs.k8s.io/kube-network-policies ${versions.NETWORK_POLICIES} `);
    expect(modules("kind")).toContain(`sigs.k8s.io/kind ${versions.KIND} `);
    expect(kube).toContain(`github.com/coredns/coredns ${versions.COREDNS}\n`);
  });

  it.each(["kube", "istio", "kind"])("require the Go version of %s", (name) => {
    expect(/^go (\d+\.\d+)/m.exec(modules(name))?.[1]).toBe(MIN_GO);
  });

  it("pin downloads by hash", () => {
    expect(versions.ENVOY.sha256).toMatch(/^[0-9a-f]{64}$/);
    expect(versions.NODE.integrity).toMatch(/^sha512-[A-Za-z0-9+/]{86}==$/);
  });
});
