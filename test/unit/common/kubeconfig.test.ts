import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { ApiServer, type ClusterSettings, stackKubeconfig } from "../../../common/kubeconfig.ts";
import { userError } from "../tools/user-error.ts";

const loaded = vi.hoisted(() => vi.fn());
vi.mock("@kubernetes/client-node", async (original) => {
  loaded();
  return original();
});

afterEach(() => {
  vi.unstubAllEnvs();
});

function folder(files: Readonly<Record<string, unknown>>): string {
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
  for (const [name, content] of Object.entries(files))
    writeFileSync(join(directory, name), JSON.stringify(content));
  return directory;
}

const settings = (context: string, kubeconfig?: string): ClusterSettings => ({
  cluster: "existing",
  context,
  kubeconfig,
});

function entries(name: string, server: string): object {
  return {
    clusters: [{ name: "c", cluster: { server, "certificate-authority": `${name}.crt` } }],
    users: [{ name: "u", user: { "client-key": `/abs/${name}.key`, token: name } }],
    contexts: [
      { name: "shared", context: { cluster: "c", user: "u" } },
      { name, context: { cluster: "c", user: "none" } },
    ],
  };
}

describe("several kubeconfigs", () => {
  const directory = folder({ one: entries("one", "https://one"), two: entries("two", "https://two") });
  const at = (...names: string[]): string => names.map((name) => join(directory, name)).join(delimiter);

  it("are merged: the first entry of a name counts, and paths are relative to their file", () => {
    vi.stubEnv("KUBECONFIG", at("one", "missing", "two"));
    const [cluster, user] = [
      { server: "https://one", "certificate-authority": join(directory, "one.crt") },
      { "client-key": "/abs/one.key", token: "one" },
    ];
    expect(stackKubeconfig(settings("shared"))).toEqual({
      clusters: [{ name: "c", cluster }],
      users: [{ name: "u", user }],
      contexts: [{ name: "shared", context: { cluster: "c", user: "u" } }],
    });
    expect(stackKubeconfig(settings("two"))).toMatchObject({ users: [], contexts: [{ name: "two" }] });
  });

  it("are an error if all are missing", () => {
    vi.stubEnv("KUBECONFIG", at("missing", "absent"));
    expect(() => stackKubeconfig(settings("shared"))).toThrow(
      `the kubeconfig cannot be read: ENOENT: no such file or directory, open '${at("missing")}'`,
    );
  });

  it("are ignored if the stack names one", () => {
    vi.stubEnv("KUBECONFIG", at("one"));
    expect(stackKubeconfig(settings("shared", at("two"))).clusters).toMatchObject([
      { cluster: { server: "https://two" } },
    ]);
  });
});

describe("the proxy of the environment", () => {
  const proxied = (server: string, cluster: "local" | "existing" = "existing"): unknown => {
    const path = join(folder({ config: entries("x", server) }), "config");
    return stackKubeconfig({ ...settings("x", path), cluster }).clusters[0]?.cluster["proxy-url"];
  };

  it.each([
    ["https://api.example.com", undefined, "http://proxy:3128"],
    ["https://10.1.2.3:6443", "10.2.0.0/16,example.com", "http://proxy:3128"],
    ["https://api.example.com", "other.com, example.com", undefined],
    ["https://api.example.com", ".example.com", undefined],
    ["https://api.example.com", "*", undefined],
    ["https://10.1.2.3:6443", "10.1.0.0/16", undefined],
    ["https://127.0.0.1:6443", undefined, undefined],
    ["https://[::1]:6443", undefined, undefined],
    ["http://api.example.com", undefined, undefined],
  ])("of %s, NO_PROXY=%s, is %s", (server, exempt, proxy) => {
    vi.stubEnv("HTTPS_PROXY", "proxy:3128");
    vi.stubEnv("NO_PROXY", exempt);
    vi.stubEnv("no_proxy", exempt);
    expect(proxied(server)).toBe(proxy);
    expect(proxied(server, "local")).toBeUndefined();
  });

  it("is undefined if none is set", () => {
    vi.stubEnv("HTTPS_PROXY", undefined);
    vi.stubEnv("https_proxy", undefined);
    expect(proxied("https://api.example.com")).toBeUndefined();
  });
});

/** Returns the headers of a request to an API server by a user with these entries. */
async function headersOf(user: object): Promise<IncomingHttpHeaders> {
  const asked: IncomingHttpHeaders[] = [];
  const server = createServer(({ headers }, response) => {
    asked.push(headers);
    response.end("{}");
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const config = {
    clusters: [{ name: "c", cluster: { server: address, "insecure-skip-tls-verify": true } }],
    users: [{ name: "u", user }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
  };
  try {
    const api = await ApiServer.of(settings("x", join(folder({ config }), "config")));
    expect(await api.get("/version")).toEqual({ code: 200, body: "{}" });
    return asked[0] ?? {};
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

describe("a user of an API server", () => {
  const credential = { apiVersion: "client.authentication.k8s.io/v1", kind: "ExecCredential" };
  const printed = JSON.stringify({ ...credential, status: { token: "cloud" } });
  const exec = { apiVersion: credential.apiVersion, command: "echo", args: [printed] };

  it.each([
    ["nothing", {}, undefined],
    ["a token", { token: "t" }, "Bearer t"],
  ])("is authenticated by %s, without loading the client library", async (_what, user, authorization) => {
    expect((await headersOf(user)).authorization).toBe(authorization);
    expect(loaded).not.toHaveBeenCalled();
  });

  it.each([
    ["a key that is not there", { "client-key": "/nowhere" }, /ENOENT: .*'\/nowhere'$/],
    ["a plugin that is not there", { exec: { ...exec, command: "/nowhere" } }, /ENOENT/],
  ])("is an error with %s", async (_what, user, reason) => {
    const { message, fix } = await userError(headersOf(user));
    expect(message).toMatch(/^the kubeconfig's context x cannot be used: /);
    expect(message).toMatch(reason);
    expect(fix).toBe("Correct its cluster or user: kubectl version --context x must answer.");
  });

  it.each([
    ["a password", { username: "u", password: "p" }, `Basic ${btoa("u:p")}`],
    ["a plugin of a cloud", { exec }, "Bearer cloud"],
  ])("is authenticated by %s", async (_what, user, authorization) => {
    expect((await headersOf(user)).authorization).toBe(authorization);
  });
});
