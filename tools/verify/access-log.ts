/** A call in a proxy's access log. */
export interface AccessLogLine {
  /** The whole line. Its request id makes it unique. */
  readonly text: string;
  /** Path, such as `/package.Service/method`. */
  readonly path: string;
  /** HTTP status. It is 200 even for a failed gRPC call. */
  readonly status: number;
  /** Envoy's response flags, such as `UH` for no healthy upstream; `-` if there are none. */
  readonly flags: string;
  /** Header `user-agent`; `-` if missing. */
  readonly userAgent: string;
  /** Cluster that received the call; `-` if none did. */
  readonly cluster: string;
  /** TLS server name that the caller requested; `-` for plaintext. */
  readonly serverName: string;
}

// Istio's default text format. Quoted fields may contain spaces. Source:
// https://istio.io/latest/docs/tasks/observability/logs/access-log/#default-access-log-format
const LINE = new RegExp(
  [
    String.raw`^\[[^\]]+\] "\S+ (?<path>\S+) [^"]*" (?<status>\d+) (?<flags>\S+) .*?`,
    String.raw`"[^"]*" \d+ \d+ \d+ \S+ "[^"]*" "(?<userAgent>[^"]*)" "[^"]*" "[^"]*" "[^"]*" `,
    String.raw`(?<cluster>\S+) \S+ \S+ \S+ (?<serverName>\S+) \S+$`,
  ].join(""),
);

/** Parses the calls in a proxy's log and skips all other lines. */
export function parseAccessLog(log: string): AccessLogLine[] {
  return log.split("\n").flatMap((text) => {
    const groups = LINE.exec(text)?.groups;
    if (groups === undefined) return [];
    const { path = "", status, flags = "", userAgent = "", cluster = "", serverName = "" } = groups;
    return [{ text, path, status: Number(status), flags, userAgent, cluster, serverName }];
  });
}
