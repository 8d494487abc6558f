import { copyFileSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readMaskedStackFile, readStackFile } from "../../../stack/stack-file.ts";
import { userError } from "../tools/user-error.ts";

const CASES = join(import.meta.dirname, "../../cases/stacks");

/** The error of each file. The file's first line says why it is wrong. */
const MESSAGES: Readonly<Record<string, string>> = {
  "50-stack-request-over-default-limit":
    "dubbo-mesh:services[0].resources.requests.memory: is 2Gi, more than the default limit, 256Mi: set limits.memory, too; " +
    "dubbo-mesh:services[1].resources.limits.memory: is 16Mi, less than the default request, 96Mi: set requests.memory, too",
  "51-stack-proxy-request-over-limit":
    "dubbo-mesh:proxy.requests.cpu: is 2, more than limits.cpu, 500m: lower it, or raise the limit; " +
    "dubbo-mesh:proxy.requests.memory: is 1Gi, more than limits.memory, 512Mi: lower it, or raise the limit",
  "52-stack-namespace-istio-system":
    "dubbo-mesh:namespace: is istio-system, Istio's own: policies there are for the whole mesh, and down would remove istiod; choose another",
  "53-stack-http1-check":
    "dubbo-mesh:healthCheck.http_health_check.codec_client_type: must be HTTP2, all that a Triple port speaks: Envoy's default is HTTP1",
  "54-stack-esc-environment":
    "Pulumi.test.yaml imports Pulumi ESC environments (environment), whose values only Pulumi itself reads",
  "55-stack-octal":
    "dubbo-mesh:namespace: begins with a zero, so Pulumi reads it as octal: omit the zero, or use quotes",
  "56-stack-cycle": "dubbo-mesh:services[0].versions: is an alias of what contains it: write it out",
  "57-stack-duplicate-key":
    "Pulumi.test.yaml cannot be read: duplicated mapping key (5:3)\n\n 2 | config:\n 3 |   dubbo-mesh:cluster: local\n" +
    " 4 |   dubbo-mesh:namespace: a\n 5 |   dubbo-mesh:namespace: b\n-------^",
  "58-stack-two-spellings": "Pulumi.test.yaml has namespace and dubbo-mesh:namespace, which are the same key",
  "59-stack-two-documents":
    "Pulumi.test.yaml cannot be read: expected a single document in the stream, but found more",
  "60-stack-alias-bomb": "dubbo-mesh:istio: has more than 100000 values, aliases written out: shorten it",
  "61-stack-date": "dubbo-mesh:services[0].versions[0].name: is a date in YAML, not text: put it in quotes",
  "62-stack-number-in-list":
    "dubbo-mesh:services[0].versions[0].name: begins with a zero, so Pulumi reads it as octal: omit the zero, or use quotes",
  "63-stack-limit-swapped-units":
    "dubbo-mesh:services[0].resources.requests.cpu: must be a number of CPUs such as 100m or 0.5; " +
    "dubbo-mesh:services[0].resources.limits.memory: must be bytes such as 256Mi: m stands for thousandths",
  "64-stack-namespace-default":
    "dubbo-mesh:namespace: is default, which Kubernetes never deletes, so down would fail: choose another",
};

describe("a stack that cannot run", () => {
  it.each(readdirSync(CASES))("is one error that names the key: %s", async (file) => {
    const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
    copyFileSync(join(CASES, file), join(directory, "Pulumi.test.yaml"));
    const { message, fix } = await userError(readStackFile(directory, "test"));
    expect(message).toBe(MESSAGES[file.replace(/\.yaml$/, "")]);
    expect(fix).not.toBe("");
    // `make golden` and `make ci-preview` read it the same way.
    expect(await userError(readMaskedStackFile(directory, "test"))).toEqual({ message, fix });
  });

  it("is here as often as there are errors", () => {
    expect(readdirSync(CASES).map((file) => file.replace(/\.yaml$/, ""))).toEqual(Object.keys(MESSAGES));
  });
});
