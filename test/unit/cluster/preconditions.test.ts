import { describe, expect, it } from "vitest";
import { UserError } from "../../../lib/errors.ts";
import {
  checkDisk,
  checkGo,
  checkHost,
  checkPorts,
  checkRoutes,
  isNetworkFailure,
} from "../../../cluster/preconditions.ts";

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

describe("checkHost", () => {
  it("accepts root on Linux on x86-64", () => {
    expect(() => {
      checkHost({ platform: "linux", arch: "x64", uid: 0 });
    }).not.toThrow();
  });

  it("refuses another user", () => {
    expect(
      refusal(() => {
        checkHost({ platform: "linux", arch: "x64", uid: 1000 });
      }),
    ).toEqual({
      message: "the local cluster needs root",
      fix: "run the same command as root, for example with sudo",
    });
  });

  it.each([
    { platform: "darwin", arch: "arm64", uid: 0 },
    { platform: "linux", arch: "arm64", uid: 0 },
    { platform: "win32", arch: "x64", uid: undefined },
  ])("refuses $platform on $arch", (host) => {
    const { message } = refusal(() => {
      checkHost(host);
    });
    expect(message).toBe(`the local cluster needs Linux on x86-64, this is ${host.platform} on ${host.arch}`);
  });
});

describe("checkGo", () => {
  const fix = "install Go 1.26 or newer, put it on PATH, and run the same command again";

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
  ])("refuses %s", (output, message) => {
    expect(
      refusal(() => {
        checkGo(output, "1.26", "it is needed");
      }),
    ).toEqual({ message, fix });
  });
});

describe("checkDisk", () => {
  it("accepts as much room as is needed", () => {
    expect(() => {
      checkDisk({ path: "/cache", freeBytes: 12 * GIB }, 12, "building it");
    }).not.toThrow();
  });

  it("names folder, free and needed room", () => {
    expect(
      refusal(() => {
        checkDisk({ path: "/cache", freeBytes: 3 * GIB }, 12, "building it");
      }),
    ).toEqual({
      message: "/cache has 3.0 GiB free, building it needs 12.0 GiB",
      fix: "free some room there, or set DUBBO_MESH_CACHE to a folder on a larger disk",
    });
  });
});

describe("checkPorts", () => {
  const wanted = [
    { component: "registry", address: "127.0.0.1", port: 5000 },
    { component: "kube-apiserver", address: "10.211.0.1", port: 6443 },
    { component: "coredns", address: "10.211.0.1", port: 53 },
  ];
  const line = (netid: string, local: string, users: string): string =>
    `${netid} LISTEN 0 4096 ${local} 0.0.0.0:* ${users}`;

  it.each([
    [
      "tcp",
      "0.0.0.0:5000",
      "port 5000 on 127.0.0.1, for registry of the local cluster, is taken by flask (pid 42)",
    ],
    [
      "tcp",
      "127.0.0.1:5000",
      "port 5000 on 127.0.0.1, for registry of the local cluster, is taken by flask (pid 42)",
    ],
    [
      "tcp",
      "*:6443",
      "port 6443 on 10.211.0.1, for kube-apiserver of the local cluster, is taken by flask (pid 42)",
    ],
    [
      "tcp",
      "[::]:5000",
      "port 5000 on 127.0.0.1, for registry of the local cluster, is taken by flask (pid 42)",
    ],
    [
      "udp",
      "0.0.0.0%eth0:53",
      "port 53 on 10.211.0.1, for coredns of the local cluster, is taken by flask (pid 42)",
    ],
  ])("refuses a %s listener on %s", (netid, local, message) => {
    const listeners = line(netid, local, 'users:(("flask",pid=42,fd=3))');
    expect(
      refusal(() => {
        checkPorts(listeners, wanted, new Set());
      }),
    ).toEqual({ message, fix: "stop flask and run the same command again" });
  });

  it("says so when the process cannot be seen", () => {
    const { message, fix } = refusal(() => {
      checkPorts(line("tcp", "0.0.0.0:5000", ""), wanted, new Set());
    });
    expect(message).toBe(
      "port 5000 on 127.0.0.1, for registry of the local cluster, is taken by another process",
    );
    expect(fix).toBe("stop that process and run the same command again");
  });

  it("leaves other addresses, other ports and the cluster's own processes alone", () => {
    const listeners = [
      line("udp", "127.0.0.53%lo:53", 'users:(("systemd-resolve",pid=7,fd=3))'),
      line("tcp", "127.0.0.1:6443", 'users:(("other",pid=8,fd=3))'),
      line("tcp", "0.0.0.0:8080", 'users:(("web",pid=9,fd=3))'),
      line("tcp", "127.0.0.1:5000", 'users:(("docker-registry",pid=10,fd=3))'),
    ].join("\n");
    expect(() => {
      checkPorts(listeners, wanted, new Set([10]));
    }).not.toThrow();
  });
});

describe("checkRoutes", () => {
  const own = { cidrs: ["10.211.0.0/24", "10.212.0.0/16"], device: "dubbo-mesh0" };

  it("accepts the default route, other networks and its own routes", () => {
    const routes = [
      { dst: "default", dev: "eth0" },
      { dst: "192.0.2.0/24", dev: "eth0" },
      { dst: "10.211.0.0/24", dev: "dubbo-mesh0" },
      { dst: "10.212.0.0/16", dev: "dubbo-mesh0" },
      { dst: "10.213.0.0/16", dev: "tun0" },
    ];
    expect(() => {
      checkRoutes(routes, own);
    }).not.toThrow();
  });

  it.each([
    ["10.0.0.0/8", "10.211.0.0/24"],
    ["10.211.0.77", "10.211.0.0/24"],
    ["10.212.128.0/17", "10.212.0.0/16"],
  ])("refuses a route to %s", (dst, cidr) => {
    expect(
      refusal(() => {
        checkRoutes([{ dst, dev: "tun0" }], own);
      }),
    ).toEqual({
      message: `the route to ${dst} by tun0 overlaps the local cluster's addresses ${cidr}`,
      fix: "disconnect that network (a VPN?), or use another cluster",
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
  ])("takes %j for one", (output) => {
    expect(isNetworkFailure(output)).toBe(true);
  });

  it.each([
    "./main.go:31:29: cannot use x as y in map literal",
    "ERROR: hashes do not match",
    "no space left on device",
  ])("does not take %j for one", (output) => {
    expect(isNetworkFailure(output)).toBe(false);
  });
});
