import type { AccessLogLine } from "./access-log.ts";
import { type Check, count, list } from "./check.ts";
import { type Expected, shortName, subsetOf } from "./expected.ts";

/** User agent of Envoy's health checker. */
const CHECKER = "Envoy/HC";

/** Log lines of a pod's proxy during the observation. */
export interface LogWindow {
  /** Label `version` of the pod. */
  readonly version: string | undefined;
  /** True if Kubernetes sends calls to the pod. Others need not answer checks yet. */
  readonly ready: boolean;
  readonly lines: readonly AccessLogLine[];
}

/** Returns the lines that are new since the earlier sample. */
export function newLines(
  before: readonly AccessLogLine[] | undefined,
  after: readonly AccessLogLine[],
): AccessLogLine[] {
  const old = new Set((before ?? []).map(({ text }) => text));
  return after.filter(({ text }) => !old.has(text));
}

function byCluster(lines: readonly AccessLogLine[]): string[] {
  const clusters = [...new Set(lines.map(({ cluster }) => cluster))].sort();
  return clusters.map(
    (name) => `${lines.filter(({ cluster }) => cluster === name).length} ${shortName(name) || name}`,
  );
}

/**
 * Checks that the calls in one side's access logs went through the Envoy cluster of the callee's
 * port.
 */
export function callLog(
  side: "outbound" | "inbound",
  of: string,
  { port, host, services, interval }: Expected,
  lines: readonly AccessLogLine[],
): Check {
  const calls = lines.filter(({ path }) => services.some((service) => path.startsWith(`/${service}/`)));
  const start = `${side}|${port}|`;
  const end = side === "outbound" ? `|${host}` : "||";
  const cut = calls.filter(({ flags }) => flags !== "-");
  const flags = [...new Set(cut.map((line) => line.flags))].join(" ");
  const named = calls.filter(({ cluster }) => cluster.startsWith(start) && cluster.endsWith(end));
  return {
    check: `${side} log`,
    of,
    seen: [
      [count(calls.length, "call"), ...(calls.length === 0 ? [] : [list(byCluster(calls))])].join(": "),
      `${cut.length} cut short${cut.length === 0 ? "" : ` (${flags})`}`,
    ].join("; "),
    expected: `all name ${start}, none is cut short`,
    ok: (calls.length > 0 || interval === undefined) && named.length === calls.length && cut.length === 0,
  };
}

function checksIn({ checkPath }: Expected, { lines }: LogWindow): AccessLogLine[] {
  return lines.filter(({ userAgent, path }) => userAgent === CHECKER && path === checkPath);
}

/** Checks in the access logs that health checks reach each pod of the callee that is ready. */
export function checkLog(expected: Expected, providers: readonly LogWindow[]): Check {
  const ready = providers.filter((provider) => provider.ready);
  const checks = ready.map((provider) => checksIn(expected, provider));
  const reached = checks.filter((lines) => lines.length > 0);
  const refused = checks.flat().filter(({ status }) => status !== 200);
  const pods = `${reached.length} of ${count(ready.length, "pod")}`;
  return {
    check: "check log",
    of: expected.provider,
    seen: `${count(checks.flat().length, "call")} by ${CHECKER} to ${pods}, ${refused.length} without status 200`,
    expected: `each ready pod has ${expected.checkPath ?? ""} 200`,
    ok: reached.length > 0 && reached.length === ready.length && refused.length === 0,
  };
}

/**
 * Checks that a cluster's health checks use mTLS. A callee logs the TLS server name, which Istio
 * derives from the cluster's name. A plaintext call has none. The result also shows the caller's
 * handshake counter.
 */
export function mtlsCheck(
  cluster: string,
  expected: Expected,
  providers: readonly LogWindow[],
  handshakes: number | undefined,
): Check {
  const serverName = cluster.replaceAll("|", "_.");
  const subset = subsetOf(cluster);
  const lines = providers
    .filter(({ version }) => subset === "" || version === subset)
    .flatMap((provider) => checksIn(expected, provider));
  const proven = lines.filter((line) => line.serverName === serverName).length;
  const plain = lines.filter((line) => line.serverName === "-").length;
  return {
    check: "mtls",
    of: shortName(cluster),
    seen: `${count(proven, "check")} with its server name, ${plain} in plaintext; ${handshakes ?? "uncounted"} TLS handshakes so far`,
    expected: "its checks come over mTLS, none in plaintext",
    ok: proven > 0 && plain === 0,
  };
}
