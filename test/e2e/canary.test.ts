import { appendFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { applyPatch } from "diff";
import { execa, type ResultPromise } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { GREETER } from "../../settings/names.ts";
import type { PromotionReport } from "../../tools/promote/promotion.ts";
import type { Preview } from "../../tools/engine/engine.ts";
import type { UpReport } from "../../tools/up.ts";
import { buildFaultyProvider } from "./image.ts";
import { answerOf, make, type PairStack, PROJECT_DIRECTORY, STACK, writeStack } from "./make.ts";
import { nameOf, PROVIDER, Scene, until } from "./scene.ts";
import { givenUp, type Seen, Watch } from "./watch.ts";

const PATH = join(PROJECT_DIRECTORY, `Pulumi.${STACK}.yaml`);
/** Longest time from the call that makes a fault certain to the end of the rollback, seconds. */
const BACK_SECONDS = 60;
/** Longest time until the promotion sees a call, seconds: Envoy's flush, and two readings. */
const SEEN_SECONDS = 5 + 2 * 2;
/** Salt of the empty passphrase. */
const SALT = readFileSync(join(PROJECT_DIRECTORY, "Pulumi.dev.yaml"), "utf8").split("\n").at(-2) ?? "";
/** Weights before each test. */
const BEFORE = { v1: 100, v2: 0, errors: 0, slow: 0, hang: 0, none: 0 };

let images: Readonly<Record<string, string>>;

/** Parts of the stack that differ between the tests. */
interface Given {
  /** Weight of v2 (default: 0). */
  readonly v2?: number;
  /** Further versions. */
  readonly versions?: readonly object[];
  /** Further keys of the consumer. */
  readonly consumer?: object;
}

/** Writes the stack's file, with further keys of the provider. */
function write(provider: object, { v2 = 0, versions: others = [], consumer }: Given = {}): void {
  const faulty = ["errors", "slow", "hang"].map((name) => ({
    name,
    image: images[name],
    replicas: 1,
    weight: 0,
  }));
  const versions = [
    { name: "v1", replicas: 2, weight: 100 - v2 },
    { name: "v2", replicas: 2, weight: v2 },
    ...faulty,
    { name: "none", replicas: 0, weight: 0 },
    ...others,
  ];
  const settings: PairStack = {
    namespace: "dubbo-promote",
    provider: { versions, ...provider },
    consumer: { interval: "0.05s", ...consumer },
    traffic: { perTryTimeout: "1s" },
  };
  writeStack(settings);
  // Without a salt, Pulumi would add one and format the file.
  appendFileSync(PATH, SALT);
}

/** Two steps. */
const SHORT = { promotion: { steps: [25, 100] } };
/** Two steps, in which 1 of 100 tries may fail. */
const STRICT = { promotion: { steps: [25, 100], calls: 100, minSuccess: 99 } };

/** True before a release (make soak). */
const SOAK = process.env["SOAK"] !== undefined;

/** Result of a command that may fail: its exit code, its answer and its steps. */
interface Ended {
  readonly code?: number | undefined;
  readonly answer?: unknown;
  readonly stderr?: string;
}

/** Returns the duration of the rollback, seconds. */
function backSeconds({ stderr = "" }: Ended): number {
  return Number(/ok +roll \w+ back to 0 % \((\d+\.\d) s\)/.exec(stderr)?.[1]);
}

const IN_PROJECT = { cwd: PROJECT_DIRECTORY, reject: false, detached: true } as const;

function started(...variables: string[]): ResultPromise<typeof IN_PROJECT> {
  const target = ["--no-print-directory", "promote", `STACK=${STACK}`, "JSON=1", ...variables];
  return execa("make", target, IN_PROJECT);
}

async function promote(...variables: string[]): Promise<Ended> {
  const { exitCode, stdout, stderr } = await started(...variables);
  process.stderr.write(stderr);
  return { code: exitCode, answer: answerOf(stdout), stderr };
}

function promoted(version: string, ...variables: string[]): Promise<Ended> {
  return promote(`SERVICE=${PROVIDER}`, `VERSION=${version}`, ...variables);
}

const routes = z.object({
  spec: z.object({
    http: z.array(
      z.object({
        route: z.array(z.object({ destination: z.object({ subset: z.string() }), weight: z.number() })),
      }),
    ),
  }),
});

/** Returns the weights in the cluster. All routes have the same. */
async function weightsInCluster(): Promise<Record<string, number>> {
  const scene = await Scene.now();
  const text = await scene.kubectl("get", "virtualservice", PROVIDER, "--output=json");
  const { http } = routes.parse(JSON.parse(text)).spec;
  const each = http.map(({ route }) =>
    Object.fromEntries(route.map(({ destination, weight }) => [destination.subset, weight])),
  );
  for (const weights of each) expect(weights).toEqual(each[0]);
  return each[0] ?? {};
}

async function weightsInFile(): Promise<Record<string, number>> {
  const { settings } = await Scene.now();
  const versions = settings.services.find(({ name }) => name === PROVIDER)?.versions ?? [];
  return Object.fromEntries(versions.map(({ name, weight }) => [name, weight]));
}

async function expectWeights(weights: Readonly<Record<string, number>>): Promise<void> {
  expect(await weightsInFile()).toEqual(weights);
  expect(await weightsInCluster()).toEqual(weights);
  // Nothing is left to do, and nothing refuses to do it.
  expect((await make<Preview>("preview", "JSON=1")).result.changes).toEqual([]);
}

/** Runs `work` while the consumer calls, and returns the results of the calls. */
async function watched(work: () => Promise<void>): Promise<Seen> {
  const watch = await Watch.begin(await Scene.now());
  await work();
  await sleep(2000);
  return watch.end();
}

function figure(name: string, value: unknown): void {
  process.stdout.write(`  figure  ${name}: ${JSON.stringify(value)}\n`);
}

beforeAll(async () => {
  images = {};
  writeStack({ namespace: "dubbo-promote" });
  // The images need the cluster's registry.
  await make("cluster-up");
  const faults = ["errors", "slow", "hang"];
  for (const fault of faults) images = { ...images, [fault]: await buildFaultyProvider(fault) };
  write({});
  await make<UpReport>("up", "JSON=1");
  await (await Scene.now()).settled();
});

afterAll(async () => {
  await make("down");
});

describe("a version that is as good as the one before", () => {
  it("gets all calls in the default steps; no call fails, and the stack file says so", async () => {
    const before = `# Weights are written by make promote.\n${readFileSync(PATH, "utf8")}`;
    writeFileSync(PATH, before);
    let ended: Ended = {};
    const seen = await watched(async () => {
      ended = await promoted("v2");
    });
    figure("promoted", ended.answer);
    expect(ended.code).toBe(0);
    const report = ended.answer as PromotionReport;
    expect(report).toMatchObject({ service: PROVIDER, version: "v2", outcome: "promoted" });
    expect(report.steps.map(({ weight, verdict }) => [weight, verdict])).toEqual(
      [5, 25, 50, 100].map((weight) => [weight, "held"]),
    );
    for (const { version, others } of report.steps) {
      expect(version.tries).toBeGreaterThanOrEqual(20);
      expect([version.success, others.success]).toEqual([100, 100]);
      expect(version.p50).toBeGreaterThan(0);
    }
    expect(seen).toMatchObject({ failed: [], unaccounted: 0 });
    expect(givenUp(seen)).toEqual({});
    const after = { ...BEFORE, v1: 0, v2: 100 };
    await expectWeights(after);
    const expected = before
      .replace(/(name: v1\n.*\n +weight: )100/, "$10")
      .replace(/(name: v2\n.*\n +weight: )0/, "$1100");
    expect(readFileSync(PATH, "utf8")).toBe(expected);
  });

  it("goes again, and with WRITE=0 the change of the file is printed", async () => {
    write(SHORT, { v2: 100 });
    const before = readFileSync(PATH, "utf8");
    const { code, answer } = await promoted("v1", "WRITE=0");
    expect(code).toBe(0);
    const report = answer as PromotionReport;
    expect(report).toMatchObject({ version: "v1", outcome: "promoted", weights: BEFORE });
    expect(readFileSync(PATH, "utf8")).toBe(before);
    const changed = applyPatch(before, report.change ?? "");
    expect(changed).not.toBe(false);
    writeFileSync(PATH, String(changed));
    await expectWeights(BEFORE);
  });
});

describe("a version that is worse", () => {
  it.each([
    [
      "errors",
      /^at 25 %: success 9\d(\.\d)? % \(\d+ of \d+ tries failed\); minSuccess is 99 %; the others have 100 %$/,
    ],
    ["slow", /^at 25 %: p50 3\d\d(\.\d)? ms; the others have \d+(\.\d)? ms; at most 100 ms more is allowed$/],
    ["hang", /^at 25 %: success 0 % \(\d+ of \d+ tries failed\); minSuccess is 99 %; the others have 100 %$/],
  ])("is rolled back at the first step: %s", async (version, reason) => {
    write(version === "slow" ? SHORT : STRICT);
    const before = readFileSync(PATH, "utf8");
    let ended: Ended = {};
    const seen = await watched(async () => {
      ended = await promoted(version);
    });
    figure(version, ended.answer);
    expect(ended.code).not.toBe(0);
    const report = ended.answer as PromotionReport;
    expect(report).toMatchObject({ version, outcome: "rolled back", weights: BEFORE });
    expect(report.reason).toMatch(reason);
    expect(report.steps.map(({ weight, verdict }) => [weight, verdict])).toEqual([[25, "worse"]]);
    expect(backSeconds(ended)).toBeLessThan(BACK_SECONDS - SEEN_SECONDS);
    // Retries hide the single errors from the consumer, but not from the promotion.
    if (version !== "hang") expect(seen.failed).toEqual([]);
    expect(readFileSync(PATH, "utf8")).toBe(before);
    await expectWeights(BEFORE);
  });

  // Only before a release: it changes the pods, which takes a minute and a half.
  it.each(SOAK ? ["hang"] : [])("is rolled back if its callers give up their calls: %s", async (version) => {
    const methods = { [`/${GREETER}/greet`]: { idempotent: false } };
    // Envoy sets no timeout for a method that is not idempotent. Only the consumer has one.
    write({ ...STRICT, methods }, { consumer: { timeout: "1s" } });
    await make<UpReport>("up", "JSON=1");
    await (await Scene.now()).settled();
    const ended = await promoted(version);
    figure("given up", ended.answer);
    expect(ended.code).not.toBe(0);
    expect((ended.answer as PromotionReport).reason).toMatch(
      /^at 25 %: success 0 % \(\d+ of \d+ tries failed\); minSuccess is 99 %; the others have 100 %$/,
    );
    expect(backSeconds(ended)).toBeLessThan(BACK_SECONDS - SEEN_SECONDS);
    write({});
    await make<UpReport>("up", "JSON=1");
    await (await Scene.now()).settled();
  });

  it("is rolled back when one of its pods becomes unready during the step", async () => {
    write({ promotion: { ...STRICT.promotion, calls: 400 } });
    const [pod] = (await (await Scene.now()).mesh.pods(PROVIDER)).filter(
      ({ metadata }) => metadata?.labels?.["version"] === "v2",
    );
    const qos = (command: string): Promise<unknown> =>
      make("qos", `POD=${nameOf(pod)}`, `COMMAND=${command}`, "JSON=1");
    const running = promoted("v2");
    await until("the step has begun", 120, async () =>
      (await weightsInCluster())["v2"] === 25 ? true : undefined,
    );
    await sleep(5000);
    const start = performance.now();
    await qos("offline");
    const { code, answer } = await running;
    const seconds = (performance.now() - start) / 1000;
    await qos("online");
    figure("unready", { seconds, answer });
    expect(code).not.toBe(0);
    // Kubernetes, Istio and Envoy notice it at different times.
    const { reason } = answer as PromotionReport;
    expect(reason).toMatch(/^at 25 %: verify failed: /);
    expect(reason).toMatch(
      /(ready of dubbo-samples-mesh-provider-v2|(addresses|health check) of outbound\|50052\|v2\|): /,
    );
    expect(seconds).toBeLessThan(BACK_SECONDS);
    await (await Scene.now()).settled();
    await expectWeights(BEFORE);
  });
});

describe("an interrupted promotion", () => {
  /** Starts a promotion, and returns a function that ends it and all of its processes. */
  async function begun(): Promise<(signal: NodeJS.Signals) => Promise<Ended>> {
    write(SHORT);
    await make<UpReport>("up", "JSON=1");
    const running = started(`SERVICE=${PROVIDER}`, "VERSION=v2");
    return async (signal) => {
      process.kill(-(running.pid ?? 0), signal);
      const { exitCode, stdout, stderr } = await running;
      return { code: exitCode, answer: stdout === "" ? undefined : answerOf(stdout), stderr };
    };
  }

  async function untilWeight(
    where: () => Promise<Record<string, number>>,
    weight: number,
    delay: number,
  ): Promise<void> {
    await until(`the weight ${weight}`, 120, async () =>
      (await where())["v2"] === weight ? true : undefined,
    );
    await sleep(delay);
  }

  /** Moments of a promotion. An update takes about 4 s. */
  const MOMENTS: Readonly<Record<string, () => Promise<void>>> = {
    "in the first update": async () => {
      const scene = await Scene.now();
      await until("the Lease", 120, async () =>
        (await scene.kubectl("get", "leases", "--output=name")).includes("/dubbo-mesh-promotion")
          ? true
          : undefined,
      );
      await sleep(2500);
    },
    "in the first step": () => untilWeight(weightsInCluster, 25, 2000),
    "in the last update": () => untilWeight(weightsInFile, 25, 2500),
    "in the last step": () => untilWeight(weightsInCluster, 100, 2000),
  };

  it("by a signal is rolled back at once", async () => {
    const end = await begun();
    await MOMENTS["in the first step"]?.();
    const ended = await end("SIGINT");
    figure("SIGINT", ended);
    expect(ended.code).not.toBe(0);
    expect(ended.answer).toMatchObject({ outcome: "rolled back", reason: "the command got SIGINT" });
    expect(backSeconds(ended)).toBeLessThan(BACK_SECONDS);
    await expectWeights(BEFORE);
  });

  /** Moments of the kill, and the way on. CI tries two pairs, soak all. */
  const KILLED = Object.keys(MOMENTS)
    .flatMap((moment) => ["CONTINUE", "BACK"].map((told) => [moment, told] as const))
    .filter(([moment, told]) => {
      const ofCi = { "in the first step": "CONTINUE", "in the last update": "BACK" }[moment];
      return ofCi === told || SOAK;
    });

  it.each(KILLED)("killed %s stops up and preview, and ends as told: %s", async (moment, told) => {
    const end = await begun();
    await MOMENTS[moment]?.();
    await end("SIGKILL");
    figure(`killed ${moment}`, { cluster: await weightsInCluster(), file: await weightsInFile() });
    for (const command of ["up", "preview"]) {
      await expect(make(command, "JSON=1")).rejects.toThrow(
        /a promotion is under way or was interrupted: v2 of dubbo-samples-mesh-provider \(started .*; process \d+ on .*CONTINUE=1/,
      );
    }
    const { code, answer } = await promoted("v2");
    expect(code).not.toBe(0);
    expect(answer).toMatchObject({
      error: expect.stringMatching(/^a promotion was interrupted: v2 of .*; v2 has held \d+ %$/) as string,
    });
    const ended = await promote(`${told}=1`);
    expect(ended).toMatchObject({
      code: 0,
      answer: { version: "v2", outcome: told === "BACK" ? "rolled back" : "promoted" },
    });
    await expectWeights(told === "BACK" ? BEFORE : { ...BEFORE, v1: 0, v2: 100 });
  });
});

describe("a promotion that cannot be judged", () => {
  it.each([
    ["none", "version none of dubbo-samples-mesh-provider has no pods: its replicas are 0"],
    ["v9", "dubbo-samples-mesh-provider has no version v9"],
    ["v1", "v1 already gets 100 % of the calls, and the last step is 100 %"],
  ])("is refused: %s", async (version, error) => {
    write(SHORT);
    const { code, answer } = await promoted(version);
    expect(code).not.toBe(0);
    expect(answer).toMatchObject({ error });
  });

  it("is refused for a version that is not deployed yet, and with other changes", async () => {
    write(SHORT, { versions: [{ name: "new", replicas: 1, weight: 0 }] });
    expect((await promoted("new")).answer).toMatchObject({
      error: "version new of dubbo-samples-mesh-provider has no ready pods",
    });
    expect((await promoted("v2")).answer).toMatchObject({
      error: expect.stringContaining("has changes that are not deployed") as string,
    });
    write(SHORT);
    await expectWeights(BEFORE);
  });
});
