import { delimiter, dirname } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { binaryPath } from "../../common/artifacts/cache.ts";
import { dockerEnvironment } from "../../packages/local-cluster/docker.ts";
import { BASE_IMAGE, CONTEXT, KUBECONFIG } from "../../common/local-cluster.ts";
import type { UpReport } from "../../tools/up.ts";
import { make, writeStack } from "./make.ts";

const ON_KIND = `CONTEXT=${CONTEXT}`;

/**
 * Uses the local cluster like an existing kind cluster.
 * It is known only by its context in the kubeconfig, and kind and docker are available.
 */
beforeAll(async () => {
  await make("cluster-up");
  const { PATH = "" } = process.env;
  const environment = {
    ...dockerEnvironment(),
    KUBECONFIG,
    PATH: [dirname(binaryPath("kind")), PATH].join(delimiter),
  };
  for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
  writeStack({ namespace: "dubbo-existing", baseImage: BASE_IMAGE });
});

afterAll(async () => {
  await make("down", ON_KIND);
  vi.unstubAllEnvs();
});

describe("a kind cluster of the user", () => {
  it("gets the images without a registry", async () => {
    const { result } = await make<UpReport>("up", "JSON=1", ON_KIND);
    const loaded = /^loaded\.invalid\/dubbo-mesh\/dubbo-samples-mesh-(provider|consumer):[0-9a-f]{16}$/;
    const images = Object.values(result.outputs["images"] as Record<string, string>);
    expect(images).toEqual([expect.stringMatching(loaded), expect.stringMatching(loaded)]);
    expect(result.reply).toContain("response from provider");
    expect((await make<{ ok: boolean }>("verify", "JSON=1", ON_KIND)).result.ok).toBe(true);
  });

  it("is not changed by a second up", async () => {
    expect((await make<UpReport>("up", "JSON=1", ON_KIND)).result.changes).toEqual([]);
  });
});
