import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { afterEach, describe, expect, it, vi } from "vitest";
import { DubboService } from "../../../components/service.ts";
import { unchecked } from "../../../stack/checks.ts";
import { type Declared, runProgram } from "../../../tools/engine/program.ts";
import { readStackFile } from "../../../stack/stack-file.ts";

const program = vi.hoisted(() => vi.fn<() => Promise<object>>());
vi.mock("../../../index.ts", () => ({ default: program }));

afterEach(() => {
  program.mockReset();
});

const ARGS = {
  application: "a",
  namespace: "n",
  serviceAccount: "s",
  runtime: "node" as const,
  port: 50052,
  clusterDomain: "c",
  called: true,
  drainSeconds: 1,
  finishSeconds: 1,
  properties: {},
  resources: { requests: {}, limits: {} },
  annotations: {},
  versions: [{ name: "v1", replicas: 1, image: "i" }],
};

class Bucket extends pulumi.CustomResource {
  constructor(name: string) {
    super("aws:s3/bucket:Bucket", name);
  }
}

async function run(work: () => object): Promise<Declared> {
  program.mockImplementation(() => Promise.resolve().then(work));
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
  writeFileSync(join(directory, "Pulumi.test.yaml"), "config:\n  dubbo-mesh:cluster: local\n");
  return runProgram(await readStackFile(directory, "test"));
}

/** Errors of a run, and errors that would have ended a process without vitest's listeners. */
async function failure(work: () => object): Promise<{ error: unknown; fatal: unknown[] }> {
  const events = ["unhandledRejection", "uncaughtException"] as const;
  const saved = events.map((event) => [event, process.rawListeners(event)] as const);
  const fatal: unknown[] = [];
  for (const event of events) process.removeAllListeners(event);
  process.on("uncaughtException", (error) => fatal.push(error.message));
  try {
    const error: unknown = await run(work).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
    return { error, fatal };
  } finally {
    for (const [event, listeners] of saved) {
      process.removeAllListeners(event);
      for (const listener of listeners) process.on(event, listener as () => void);
    }
  }
}

/** Returns an output that fails. */
function wrong(): pulumi.Output<string> {
  return pulumi.output("n").apply((): string => {
    throw new Error("no such namespace");
  });
}

describe("a program that fails under mocks", () => {
  it.each<[string, () => object, RegExp]>([
    [
      "throws",
      () => {
        throw new Error("no good");
      },
      /^no good$/,
    ],
    [
      "has an output that turns out to be wrong",
      () => ({ address: new DubboService("p", { ...ARGS, namespace: wrong() }).address }),
      /no such namespace$/,
    ],
    [
      "declares what cannot be rendered",
      () => ({ urn: new Bucket("b").urn }),
      /the program declares a aws:s3\/bucket:Bucket, which cannot be rendered/,
    ],
  ])("ends with one error: it %s", async (_what, work, message) => {
    const { error, fatal } = await failure(work);
    expect(error).toBeInstanceOf(Error);
    expect((error as Error).message).toMatch(message);
    expect(fatal).toEqual([]);
  });

  it("does not affect the next one", async () => {
    await failure(() => ({ address: new DubboService("p", { ...ARGS, namespace: wrong() }).address }));
    const listeners = process.listenerCount("unhandledRejection");
    const { objects, outputs } = await run(() => ({ address: new DubboService("p", ARGS).address }));
    expect(outputs).toEqual({ address: "a.n.svc.c:50052" });
    expect(program).toHaveBeenLastCalledWith(unchecked);
    expect(objects.map(({ kind, metadata }) => `${kind}/${metadata.name}`)).toEqual([
      "Service/a",
      "Deployment/a-v1",
    ]);
    expect(process.listenerCount("unhandledRejection")).toBe(listeners);
  });
});
