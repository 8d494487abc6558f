import { beforeAll, describe, expect, it, vi } from "vitest";
import { makeArtifact } from "../../common/artifacts/artifact.ts";
import { envoyArtifact } from "../../packages/local-cluster/artifacts.ts";
import type { Fields } from "../../policy/fields.ts";
import { type KubernetesObject } from "../../common/kubernetes-object.ts";
import { type Declared, runProgram } from "../../tools/engine/program.ts";
import { readStackFile } from "../../stack/stack-file.ts";
import { checkedClusters, envoyRefusal } from "../configurations/envoy.ts";
import { tryConfigurations } from "../configurations/suite.ts";
import { PROJECT_DIRECTORY } from "./make.ts";

// The bundles do not affect the configuration, and building them takes longer than everything else.
vi.mock(import("../../apps/bundle.ts"), () => ({
  bundleApplication: () =>
    Promise.resolve({ context: "apps/dist/x", dockerfile: "apps/Dockerfile", tag: "0" }),
}));

const { file: ENVOY } = envoyArtifact();

function filtersOf(objects: readonly KubernetesObject[]): KubernetesObject[] {
  return objects.filter(({ kind }) => kind === "EnvoyFilter");
}

beforeAll(async () => {
  await makeArtifact(envoyArtifact());
});

const SOAK = process.env["SOAK"] !== undefined;
/** Number of configurations of a run; 10,000 before a release. */
const RUNS = SOAK ? 10_000 : 2500;

describe(`${RUNS} random configurations`, () => {
  let sample: readonly Declared[] = [];

  // Each run has another seed.
  it.each(SOAK ? [1, 2, 3] : [1])("give valid objects, or an error that names a key (run %i)", async () => {
    // The program warns about plaintext health checks.
    vi.spyOn(console, "warn").mockReturnValue(undefined);
    const tally = await tryConfigurations({ runs: RUNS, kept: 20 });
    expect(tally.accepted + tally.refused).toBe(RUNS);
    expect(tally.refused).toBeGreaterThan(RUNS / 5);
    ({ sample } = tally);
  });

  it("give clusters that a real Envoy accepts, tried for 20 callers", async () => {
    expect(sample).toHaveLength(20);
    for (const { objects } of sample) {
      const callers = filtersOf(objects);
      expect(callers).not.toEqual([]);
      for (const filter of callers)
        expect(await envoyRefusal(ENVOY, checkedClusters(filter, objects))).toBeUndefined();
    }
  });
});

interface Filter extends KubernetesObject {
  readonly spec: {
    readonly configPatches: { readonly patch: { readonly value: { readonly health_checks: Fields[] } } }[];
  };
}

/** Returns a function that changes the first health check of an EnvoyFilter. */
function check(change: (fields: Fields) => Fields): (filter: Filter) => void {
  return ({ spec }) => {
    const checks = spec.configPatches[0]?.patch.value.health_checks ?? [];
    checks.splice(0, 1, ...checks.map(change));
  };
}

describe("a real Envoy", () => {
  const unknown = {
    name: "x",
    typed_config: { "@type": "type.googleapis.com/google.protobuf.Struct", value: {} },
  };

  it.each<[string, (filter: Filter) => void, RegExp]>([
    [
      "a timeout of nothing",
      check((fields) => ({ ...fields, timeout: "0s" })),
      /HealthCheckValidationError\.Timeout: value must be greater than 0s/,
    ],
    [
      "a field that there is not",
      check((fields) => ({ ...fields, intervall: "1s" })),
      /HealthCheck, near .*: no such field: 'intervall'/,
    ],
    [
      "no threshold",
      check((fields) => ({ ...fields, unhealthy_threshold: undefined })),
      /HealthCheckValidationError\.UnhealthyThreshold: value is required/,
    ],
    [
      "no way of checking",
      check((fields) => ({ ...fields, grpc_health_check: undefined })),
      /field: "health_checker", reason: is required/,
    ],
    [
      "an extension that it has not",
      check((fields) => ({ ...fields, grpc_health_check: undefined, custom_health_check: unknown })),
      /Didn't find a registered implementation for 'x'/,
    ],
    [
      "two checks of one cluster",
      ({ spec: { configPatches } }) => configPatches.push(...configPatches),
      /all health checks must have a name when multiple health checks are configured/,
    ],
  ])("rejects %s", async (_, change, reason) => {
    const { objects } = await runProgram(await readStackFile(PROJECT_DIRECTORY, "canary"));
    const [filter] = structuredClone(filtersOf(objects)) as Filter[];
    if (filter === undefined) throw new Error("no EnvoyFilter");
    expect(await envoyRefusal(ENVOY, checkedClusters(filter, objects))).toBeUndefined();
    change(filter);
    expect(await envoyRefusal(ENVOY, checkedClusters(filter, objects))).toMatch(reason);
  });
});
