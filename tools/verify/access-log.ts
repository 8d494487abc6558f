/** A call in a proxy's access log. */
export interface AccessLogLine {
  /** The line itself; its request id makes it unique. */
  readonly text: string;
  /** Path, such as `/package.Service/method`. */
  readonly path: string;
  /** HTTP status; a gRPC call that fails has 200 as well. */
  readonly status: number;
  /** Why Envoy cut the call short, such as `UH` for no healthy upstream; `-` where it did not. */
  readonly flags: string;
  /** Header `user-agent`; `-` where there is none. */
  readonly userAgent: string;
  /** Cluster that the call was sent to; `-` where it was sent nowhere. */
  readonly cluster: string;
  /** Server name that the caller asked for in TLS; `-` in plaintext. */
  readonly serverName: string;
}

// Istio's default text format; a field in quotes may hold spaces.
// Source: https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format
const LINE = new RegExp(
  [
    String.raw`^\[[^\]]+\] "\S+ (?<path>\S+) [^"]*" (?<status>\d+) (?<flags>\S+) .*?`,
    String.raw`"[^"]*" \d+ \d+ \d+ \S+ "[^"]*" "(?<userAgent>[^"]*)" "[^"]*" "[^"]*" "[^"]*" `,
    String.raw`(?<cluster>\S+) \S+ \S+ \S+ (?<serverName>\S+) \S+$`,
  ].join(""),
);

/** The calls in a proxy's log, which holds other lines as well. */
export function parseAccessLog(log: string): AccessLogLine[] {
  return log.split("\n").flatMap((text) => {
    const groups = LINE.exec(text)?.groups;
    if (groups === undefined) return [];
    const { path = "", status, flags = "", userAgent = "", cluster = "", serverName = "" } = groups;
    return [{ text, path, status: Number(status), flags, userAgent, cluster, serverName }];
  });
}
