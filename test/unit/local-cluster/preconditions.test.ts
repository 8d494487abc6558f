import { describe, expect, it } from "vitest";
import { checkDisk, requireRoom } from "../../../common/artifacts/cache.ts";
import { isNetworkFailure } from "../../../common/artifacts/fetch.ts";
import { checkGo } from "../../../common/artifacts/go.ts";
import { UserError } from "../../../common/errors.ts";
import { checkHost, checkMemory, checkRoutes } from "../../../packages/local-cluster/preconditions.ts";

function refusal(check: () => void): { message: string; fix: string } {
  try {
    check();
  } catch (error) {
    if (error instanceof UserError) return { message: error.message, fix: error.fix };
    throw error;
  }
  throw new Error("nothing was refused");
}

const GIB = 1024 ** 3;

const INSTEAD =
  "If docker can pull images, for example from a mirror, set DUBBO_MESH_IMAGES=public; or use another cluster: CONTEXT=NAME.";

describe("checkHost", () => {
  it("accepts root on Linux on x86-64", () => {
    expect(() => {
      checkHost({ platform: "linux", arch: "x64", uid: 0 });
    }).not.toThrow();
  });

  it("rejects another user", () => {
    expect(
      refusal(() => {
        checkHost({ platform: "linux", arch: "x64", uid: 1000 });
      }),
    ).toEqual({
      message: "Docker Hub does not answer, and a cluster from packages needs root",
      fix: `Run the same command as root, for example with sudo. ${INSTEAD}`,
    });
  });

  it.each([
    { platform: "darwin", arch: "arm64", uid: 0 },
    { platform: "linux", arch: "arm64", uid: 0 },
    { platform: "win32", arch: "x64", uid: undefined },
  ])("rejects $platform on $arch", (host) => {
    expect(
      refusal(() => {
        checkHost(host);
      }),
    ).toEqual({
      message: `Docker Hub does not answer, and a cluster from packages needs Linux on x86-64, not ${host.platform} on ${host.arch}`,
      fix: INSTEAD,
    });
  });
});

describe("checkGo", () => {
  const fix = "Install Go 1.26 or newer, put it on PATH, and run the command again.";

  it.each([
    "go version go1.26.0 linux/amd64",
    "go version go1.30rc1 linux/amd64",
    "go version go2.0 linux/amd64",
  ])("accepts %s", (output) => {
    expect(() => {
      checkGo(output, "1.26", "it is needed");
    }).not.toThrow();
  });

  it.each([
    [undefined, "Go is not installed, and it is needed"],
    ["go version go1.25.9 linux/amd64", "Go 1.25 is too old, and it is needed"],
    ["go version go1.9 linux/amd64", "Go 1.9 is too old, and it is needed"],
    ["gibberish", 'cannot read the version of Go from "gibberish"'],
  ])("rejects %s", (output, message) => {
    expect(
      refusal(() => {
        checkGo(output, "1.26", "it is needed");
      }),
    ).toEqual({ message, fix });
  });
});

describe("checkDisk", () => {
  it("accepts exactly the needed room", () => {
    expect(() => {
      checkDisk({ path: "/cache", freeBytes: 12 * GIB }, 12, "building it");
    }).not.toThrow();
  });

  it("reports the folder, the free and the needed room", () => {
    expect(
      refusal(() => {
        checkDisk({ path: "/cache", freeBytes: 3 * GIB }, 12, "building it");
      }),
    ).toEqual({
      message: "/cache has 3.0 GiB free, building it needs 12.0 GiB",
      fix: "Free some space there, or set DUBBO_MESH_CACHE to a folder on a larger disk.",
    });
  });
});

describe("requireRoom", () => {
  const PIB = 1024 ** 2;

  it("adds up the room of the missing parts", () => {
    expect(() => {
      requireRoom([{ gib: 0 }, {}], "building it");
    }).not.toThrow();
    expect(
      refusal(() => {
        requireRoom([{ gib: PIB }, {}, { gib: PIB }], "building it", PIB);
      }).message,
    ).toMatch(/^.+ has [\d.]+ GiB free, building it needs 3145728\.0 GiB$/);
  });
});

describe("checkMemory", () => {
  it("accepts 2.5 GiB, and rejects less with a fix", () => {
    expect(() => {
      checkMemory(2.5 * 1024 ** 3);
    }).not.toThrow();
    expect(
      refusal(() => {
        checkMemory(2 * 1024 ** 3);
      }),
    ).toEqual({
      message: "the docker engine has 2.0 GiB of memory, the local cluster needs 2.5 GiB",
      fix: "Give Docker Desktop more memory (Settings, Resources), or use another cluster: CONTEXT=NAME.",
    });
  });
});

describe("checkRoutes", () => {
  const OWN = "198.18.7.0/30";

  it("accepts the default route, other networks and its own route", () => {
    const routes = [
      { dst: "default", dev: "eth0" },
      { dst: "192.0.2.0/24", dev: "eth0" },
      { dst: "198.18.7.0/30", dev: "dubbo-mesh0" },
      { dst: "198.18.7.4/30", dev: "tun0" },
    ];
    expect(() => {
      checkRoutes(routes, OWN, "dubbo-mesh0");
    }).not.toThrow();
  });

  it.each(["198.18.0.0/15", "198.18.7.2", "198.18.7.0/24"])("rejects a route to %s", (dst) => {
    expect(
      refusal(() => {
        checkRoutes([{ dst, dev: "tun0" }], OWN, "dubbo-mesh0");
      }),
    ).toEqual({
      message: `the route to ${dst} by tun0 overlaps the local cluster's addresses ${OWN}`,
      fix: "Disconnect that network (a VPN?), or use another cluster: CONTEXT=NAME.",
    });
  });
});

describe("isNetworkFailure", () => {
  it.each([
    'go: example.com/x@v1: Get "https://proxy/x": dial tcp: lookup proxy: no such host',
    "npm error code ECONNREFUSED",
    "npm error network request to http://registry/ failed, reason: getaddrinfo ENOTFOUND registry",
    "E: Failed to fetch http://mirror/pool/x.deb  503  Service Unavailable",
    "E: Unable to locate package etcd-server",
    "WARNING: Retrying after connection broken by 'NewConnectionError'",
    "E: Couldn't download http://mirror/pool/y.deb",
  ])("matches %j", (output) => {
    expect(isNetworkFailure(output)).toBe(true);
  });

  it.each([
    "./main.go:31:29: cannot use x as y in map literal",
    "ERROR: hashes do not match",
    "no space left on device",
  ])("does not match %j", (output) => {
    expect(isNetworkFailure(output)).toBe(false);
  });
});
