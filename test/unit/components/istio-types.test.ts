import { readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";
import { ISTIO_TYPES, istioTypes } from "../../../tools/istio-types.ts";

const ROOT = join(import.meta.dirname, "../../..");
const SNIPPET = join(ROOT, "components/snippet.ts");

const { options } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(ROOT, "tsconfig.json"), (path) => ts.sys.readFile(path)).config,
  ts.sys,
  ROOT,
);

/** Returns the errors of a program of one file in components/, as `code: message`. */
function compiled(text: string): string[] {
  const base = ts.createCompilerHost(options);
  const host: ts.CompilerHost = {
    ...base,
    fileExists: (path) => path === SNIPPET || base.fileExists(path),
    getSourceFile: (path, ...rest) =>
      path === SNIPPET
        ? ts.createSourceFile(path, text, ts.ScriptTarget.ES2023)
        : base.getSourceFile(path, ...rest),
  };
  const program = ts.createProgram([SNIPPET], { ...options, types: [] }, host);
  return ts
    .getPreEmitDiagnostics(program, program.getSourceFile(SNIPPET))
    .map(({ code, messageText }) => `${code}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`);
}

/** Returns a file that assigns each value to the spec of its kind. */
function snippet(specs: readonly (readonly [kind: string, value: string])[]): string {
  const lines = specs.map(
    ([kind, value], index) => `export const n${index}: IstioSpecs["${kind}"] = ${value};`,
  );
  return ['import type { IstioSpecs } from "./generated/istio.ts";', ...lines].join("\n");
}

const CHECK = `timeout: "1s", interval: "1s", initial_jitter: "1s", interval_jitter: "1s", interval_jitter_percent: 1,
  unhealthy_threshold: 1, healthy_threshold: 1, reuse_connection: true, no_traffic_interval: "1s",
  no_traffic_healthy_interval: "1s", unhealthy_interval: "1s", unhealthy_edge_interval: "1s", healthy_edge_interval: "1s"`;

function patch(value: string): string {
  return `{ configPatches: [{ patch: { operation: "MERGE", value: { ${value} } } }] }`;
}

/** Kind, field, a spec with the field. */
const FIELDS: readonly (readonly [kind: string, field: string, spec: string])[] = [
  ["VirtualService", "hosts", `{ hosts: ["a"] }`],
  ["VirtualService", "perTryTimeout", `{ http: [{ retries: { perTryTimeout: "5s" } }] }`],
  [
    "DestinationRule",
    "consecutive5xxErrors",
    `{ host: "a", trafficPolicy: { outlierDetection: { consecutive5xxErrors: 5 } } }`,
  ],
  [
    "DestinationRule",
    "localityLbSetting",
    `{ host: "a", trafficPolicy: { loadBalancer: { localityLbSetting: {} } } }`,
  ],
  ["EnvoyFilter", "priority", `{ priority: 10 }`],
  ["EnvoyFilter", "portNumber", `{ configPatches: [{ match: { cluster: { portNumber: 1 } } }] }`],
  [
    "EnvoyFilter",
    "ignore_health_on_host_removal",
    patch("health_checks: [], ignore_health_on_host_removal: true"),
  ],
  ["EnvoyFilter", "event_log_path", patch(`health_checks: [{ ${CHECK}, event_log_path: "a" }]`)],
  [
    "EnvoyFilter",
    "service_name",
    patch(`health_checks: [{ ${CHECK}, grpc_health_check: { service_name: "a" } }]`),
  ],
  ["Sidecar", "workloadSelector", `{ workloadSelector: { labels: { app: "a" } } }`],
  ["AuthorizationPolicy", "principals", `{ rules: [{ from: [{ source: { principals: [] } }] }] }`],
  ["PeerAuthentication", "mode", `{ mtls: { mode: "STRICT" } }`],
  ["Telemetry", "randomSamplingPercentage", `{ tracing: [{ randomSamplingPercentage: 1 }] }`],
];

describe("the types of Istio's specs", () => {
  it("are those that `npm run istio-types` makes", async () => {
    expect(readFileSync(ISTIO_TYPES, "utf8")).toBe(await istioTypes());
  });

  it("accept the fields of the schema", () => {
    expect(compiled(snippet(FIELDS.map(([kind, , spec]) => [kind, spec])))).toEqual([]);
  });

  it("make a misspelt field a compile error", () => {
    const misspelt = FIELDS.map(
      ([kind, field, spec]) => [kind, spec.replace(`${field}:`, `${field}x:`)] as const,
    );
    const errors = compiled(snippet(misspelt));
    const expected = FIELDS.map(([, field]): unknown =>
      expect.stringMatching(new RegExp(`^(2353|2561): .*'${field}x' does not exist in type`)),
    );
    expect(errors).toEqual(expected);
  });

  it("make a value that the schema does not list a compile error", () => {
    const [error, ...others] = compiled(snippet([["PeerAuthentication", `{ mtls: { mode: "STRIKT" } }`]]));
    expect(error).toMatch(/^2820: Type '"STRIKT"' is not assignable to type/);
    expect(others).toEqual([]);
  });
});
