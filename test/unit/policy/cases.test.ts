import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, test } from "vitest";
import { lintFiles } from "../../../tools/lint.ts";
import { ROOT } from "./support.ts";

const FOLDER = join(ROOT, "test/cases/lint");

/** The rule that finds each wrong case; undefined where the fault is left to other tools. */
const FOUND: Readonly<Record<string, string | undefined>> = {
  "02-port-level-mtls-inherits.yaml": "mtls-strict",
  "04-grpc-probe-not-rewritten.yaml": "probes-survive-mtls",
  "06-two-virtualservices-one-host.yaml": "one-virtual-service",
  "07-retries-off-at-gateway-only.yaml": "retries-said",
  "08-sidecar-short-host.yaml": "host-known",
  "08c-sidecar-without-callee.yaml": "check-hits-calls",
  "09-deny-without-jwt.yaml": "authorization-admits-check",
  "22-route-to-missing-port.yaml": "destination-port-exists",
  "22c-missing-port-no-check.yaml": "destination-port-exists",
  "25-pdb-by-expressions.yaml": undefined,
  "27-mirror-unknown-subset.yaml": undefined,
  "28-drain-over-grace.yaml": undefined,
  "32-http1-check-on-grpc-port.yaml": "check-fits-port",
  "34-request-over-limit.yaml": undefined,
  "35-selector-in-root-namespace.yaml": "mtls-policy-applies",
  "60-check-of-the-whole-host.yaml": "check-covers-calls",
};

/** Returns the words before the colon of a case's first line. JSON has no comments: it is right. */
function verdictOf(name: string): string {
  const path = join(FOLDER, name);
  const file = statSync(path).isDirectory() ? join(path, "kustomization.yaml") : path;
  const [line = ""] = readFileSync(file, "utf8").split("\n");
  return name.endsWith(".json") ? "right" : (/^# ([a-z ]+)/.exec(line)?.[1] ?? "");
}

const CASES = readdirSync(FOLDER).map((name) => ({ name, verdict: verdictOf(name) }));

describe("a case", () => {
  test.each(CASES)("$name is judged $verdict", async ({ name, verdict }) => {
    const { errors, findings } = await lintFiles([join(FOLDER, name)]);
    const rules = [...new Set(findings.map(({ rule }) => rule))];
    if (verdict.startsWith("wrong")) expect(rules[0]).toBe(FOUND[name]);
    else if (verdict.startsWith("right or nearly")) expect(errors).toBe(0);
    else expect(findings).toEqual([]);
  });

  it("says in its first line what is right", () => {
    const unclear = CASES.filter(({ verdict }) => !/^(right|wrong)/.test(verdict));
    expect(unclear).toEqual([]);
    const wrong = CASES.filter(({ verdict }) => verdict.startsWith("wrong")).map(({ name }) => name);
    expect(Object.keys(FOUND).sort()).toEqual(wrong.sort());
    expect(existsSync(join(FOLDER, "43-folder-with-kustomization"))).toBe(true);
  });
});
