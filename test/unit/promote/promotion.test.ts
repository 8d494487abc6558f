import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { applyPatch } from "diff";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { UserError } from "../../../common/errors.ts";
import { TakenOver } from "../../../stack/promotion.ts";
import { readStackFile, type StackFile } from "../../../stack/stack-file.ts";
import type { Observation } from "../../../tools/promote/observe.ts";
import { newPlan } from "../../../tools/promote/plan.ts";
import {
  Promotion,
  type PromotionOptions,
  type PromotionReport,
  type PromotionStep,
} from "../../../tools/promote/promotion.ts";
import { userError } from "../tools/user-error.ts";

const PROVIDER = "dubbo-samples-mesh-provider";
const FIGURES = { tries: 20, success: 100, p50: 2, p99: 9 };
const HELD: Observation = { verdict: "held", version: FIGURES, others: FIGURES };
const WORSE: Observation = { ...HELD, verdict: "worse", reason: "p50 310 ms" };

const FILE = `config:
  dubbo-mesh:cluster: local
  # Two versions
  dubbo-mesh:services:
    - app: provider
      versions:
        - { name: v1, weight: 100 }
        - { name: v2, weight: 0 } # the next one
      promotion: { steps: [25, 100] }
    - app: consumer
`;

let directory = "";
let path = "";

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
  path = join(directory, "Pulumi.dev.yaml");
  writeFileSync(path, FILE, { mode: 0o640 });
  vi.spyOn(process.stderr, "write").mockReturnValue(true);
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** A promotion of v2, and what it did, in order. */
interface Scene {
  readonly events: string[];
  readonly run: (signal?: AbortSignal) => Promise<PromotionReport>;
  readonly rollBack: (reason: string) => Promise<PromotionReport>;
}

function weightOf(text: string): string {
  return [...text.matchAll(/weight"?: ?(\d+)/g)].map(([, weight]) => weight).join("/");
}

interface Parts {
  /** Weight of the last step that has held (default: none has). */
  readonly held?: number;
  readonly options?: Partial<PromotionOptions>;
  readonly observe?: (step: number) => Promise<Observation>;
  readonly deploy?: (stack: StackFile) => Promise<void>;
  /** Answers to the question whether the Lease is still held (default: it is). */
  readonly confirm?: () => Promise<void>;
}

async function scene({ held = 0, options, observe, deploy, confirm }: Parts = {}): Promise<Scene> {
  const file = await readStackFile(directory, "dev");
  const events: string[] = [];
  let steps = 0;
  const note = (event: string): Promise<void> => {
    events.push(`${event}, file ${weightOf(readFileSync(path, "utf8"))}`);
    return Promise.resolve();
  };
  const plan = newPlan(file.settings, PROVIDER, "v2");
  const promotion = new Promotion(
    {
      file,
      lease: {
        confirm: confirm ?? (() => Promise.resolve()),
        record: ({ held: weight }) => note(`record ${weight}`),
        release: () => note("release"),
      },
      repair: () => note("repair"),
      observer: {
        start: () => note("start"),
        step: async ({ services }) => {
          const weights = services[0]?.versions.map(({ weight }) => weight) ?? [];
          await note(`observe ${weights.join("/")}`);
          steps += 1;
          return observe === undefined ? HELD : observe(steps);
        },
      },
      deploy: async (stack) => {
        await note(`deploy ${weightOf(JSON.stringify(stack.overridden?.config["dubbo-mesh:services"]))}`);
        await deploy?.(stack);
      },
    },
    { ...plan, held, steps: plan.steps.filter((step) => step > held) },
    { write: true, overrides: {}, ...options },
  );
  return {
    events,
    run: (signal = new AbortController().signal) => promotion.run(signal),
    rollBack: (reason) => promotion.rollBack(reason),
  };
}

describe("a promotion whose steps hold", () => {
  it("deploys, observes, writes and records each step; the file and the cluster have the same weights then", async () => {
    const steps: PromotionStep[] = [];
    const { events, run } = await scene({ options: { onStep: (step) => steps.push(step) } });
    const report = await run();
    expect(events).toEqual([
      "start, file 100/0",
      "deploy 75/25, file 100/0",
      "observe 75/25, file 100/0",
      "record 25, file 75/25",
      "deploy 0/100, file 75/25",
      "observe 0/100, file 75/25",
      "record 100, file 0/100",
      "release, file 0/100",
    ]);
    expect(report).toEqual({
      service: PROVIDER,
      version: "v2",
      outcome: "promoted",
      weights: { v1: 0, v2: 100 },
      written: true,
      steps,
    });
    expect(steps.map(({ weight, verdict }) => [weight, verdict])).toEqual([
      [25, "held"],
      [100, "held"],
    ]);
    const expected = FILE.replace("name: v1, weight: 100", "name: v1, weight: 0").replace(
      "name: v2, weight: 0",
      "name: v2, weight: 100",
    );
    expect(readFileSync(path, "utf8")).toBe(expected);
    expect(statSync(path).mode & 0o777).toBe(0o640);
  });

  it("keeps the file with WRITE=0, and returns its change", async () => {
    const { events, run } = await scene({ options: { write: false } });
    const { written, change = "" } = await run();
    expect(written).toBe(false);
    expect(events.filter((event) => !event.endsWith("file 100/0"))).toEqual([]);
    expect(weightOf(String(applyPatch(FILE, change)))).toBe("0/100");
    expect(change.split("\n").slice(1, 3)).toEqual(["--- a/Pulumi.dev.yaml", "+++ b/Pulumi.dev.yaml"]);
  });
});

describe("a promotion that continues after its last step", () => {
  it("deploys and writes again, then releases the Lease", async () => {
    const { events, run } = await scene({ held: 100 });
    expect(await run()).toMatchObject({ outcome: "promoted", weights: { v1: 0, v2: 100 }, steps: [] });
    expect(events).toEqual(["start, file 100/0", "deploy 0/100, file 100/0", "release, file 0/100"]);
  });
});

describe("a promotion is rolled back, first in the file, then in the cluster", () => {
  const BACK = ["deploy 100/0, file 100/0", "release, file 100/0"];

  it("if a step does not hold; no later step runs", async () => {
    const { events, run } = await scene({ observe: (step) => Promise.resolve(step === 1 ? HELD : WORSE) });
    const report = await run();
    expect(report).toMatchObject({
      outcome: "rolled back",
      reason: "at 100 %: p50 310 ms",
      weights: { v1: 100, v2: 0 },
    });
    expect(report.steps.map(({ verdict }) => verdict)).toEqual(["held", "worse"]);
    expect(events.slice(-3)).toEqual(["observe 0/100, file 75/25", ...BACK]);
    expect(readFileSync(path, "utf8")).toBe(FILE);
  });

  it("if an update fails", async () => {
    let updates = 0;
    const deploy = (): Promise<void> =>
      ++updates === 1 ? Promise.reject(new UserError("pulumi up failed: x", "Fix it.")) : Promise.resolve();
    const { events, run } = await scene({ deploy });
    expect(await run()).toMatchObject({
      outcome: "rolled back",
      reason: "pulumi up failed: x\n  fix: Fix it.",
      steps: [],
    });
    expect(events).toEqual(["start, file 100/0", "deploy 75/25, file 100/0", ...BACK]);
  });

  it.each([
    ["before the first update", "start"],
    ["during an update", "deploy 75/25"],
    ["during a step", "observe 75/25"],
  ])("by a signal %s", async (_when, event) => {
    const signal = new AbortController();
    const told = new Error("the command got SIGTERM");
    const { events, run } = await scene({
      observe: () =>
        signal.signal.aborted
          ? Promise.reject(new Error("the operation was aborted"))
          : Promise.resolve(HELD),
    });
    const abort = events.push.bind(events);
    events.push = (...given) => {
      if (given[0]?.startsWith(event) === true) signal.abort(told);
      return abort(...given);
    };
    expect(await run(signal.signal)).toMatchObject({ outcome: "rolled back", reason: told.message });
    expect(events.slice(-3)).toEqual([`${event}, file 100/0`, ...BACK]);
  });

  it("with WRITE=0 only in the cluster; the change of a file that has other weights is returned", async () => {
    const { events, run } = await scene({ options: { write: false }, observe: () => Promise.resolve(WORSE) });
    expect(await run()).toMatchObject({ written: true });
    expect(events.slice(-2)).toEqual(BACK);
    const { rollBack } = await scene({ options: { write: false } });
    writeFileSync(path, FILE.replace("weight: 100", "weight: 75").replace("weight: 0", "weight: 25"));
    const { written, change = "" } = await rollBack("requested by BACK=1");
    expect(written).toBe(false);
    expect(applyPatch(readFileSync(path, "utf8"), change)).toBe(FILE);
  });

  it("after the engine's state is mended, if its process was killed", async () => {
    let updates = 0;
    const deploy = (): Promise<void> =>
      ++updates < 3 ? Promise.reject(new UserError("the stack is locked", "Wait.")) : Promise.resolve();
    const { events, run } = await scene({ deploy });
    expect(await run()).toMatchObject({
      outcome: "rolled back",
      reason: "the stack is locked\n  fix: Wait.",
    });
    expect(events.slice(-4)).toEqual([BACK[0], "repair, file 100/0", ...BACK]);
  });

  it("in the service's own entry, if the file was edited meanwhile", async () => {
    const other =
      "    - { name: orders, image: x:1, port: 1024, offers: [a.B], versions: [{ name: v1, weight: 60 }, { name: v2, weight: 40 }] }\n";
    const edited = FILE.replace("    - app: provider", `${other}    - app: provider`);
    const { run } = await scene({
      observe: () => {
        writeFileSync(path, edited);
        return Promise.resolve(HELD);
      },
    });
    expect(await run()).toMatchObject({ outcome: "promoted" });
    const expected = edited
      .replace("name: v1, weight: 100", "name: v1, weight: 0")
      .replace("name: v2, weight: 0", "name: v2, weight: 100");
    expect(readFileSync(path, "utf8")).toBe(expected);
  });

  it("in the file behind a symbolic link", async () => {
    const real = join(directory, "real.yaml");
    renameSync(path, real);
    symlinkSync(real, path);
    const { run } = await scene();
    await run();
    expect(readlinkSync(path)).toBe(real);
    expect(weightOf(readFileSync(real, "utf8"))).toBe("0/100");
  });
});

describe("a promotion that another process has taken over", () => {
  it("changes nothing more, neither the file nor the cluster", async () => {
    let confirmed = 0;
    const confirm = (): Promise<void> =>
      ++confirmed === 1 ? Promise.resolve() : Promise.reject(new TakenOver("dubbo-demo"));
    const { events, run } = await scene({ confirm });
    expect((await userError(run())).message).toContain("another process holds or has ended the promotion");
    expect(events.at(-1)).toBe("observe 0/100, file 75/25");
    const { events: back, rollBack } = await scene({ confirm });
    await expect(rollBack("x")).rejects.toThrow(TakenOver);
    expect(back).toEqual([]);
  });
});

describe("a promotion that cannot be rolled back", () => {
  const THEN = "Then run `make promote STACK=dev BACK=1`.";

  it("in the cluster keeps its Lease", async () => {
    const { events, rollBack } = await scene({
      deploy: () => Promise.reject(new UserError("the cluster does not answer", "Start it.")),
    });
    expect(await userError(rollBack("p50 310 ms"))).toEqual({
      message: `v2 of ${PROVIDER} could not be rolled back in the cluster: the cluster does not answer\nReason for the rollback: p50 310 ms`,
      fix: `Start it. ${THEN}`,
    });
    expect(events).not.toContain("release, file 100/0");
  });

  it("in the file is rolled back in the cluster; its Lease stays until the file is written", async () => {
    // A folder in the place of the draft fails each write, as a full disk does.
    mkdirSync(`${path}.promote`);
    const { events, run, rollBack } = await scene();
    const { message, fix } = await userError(run());
    expect(message).toMatch(
      /^v2 of dubbo-samples-mesh-provider could not be rolled back in Pulumi\.dev\.yaml: .*Pulumi\.dev\.yaml cannot be written: EISDIR.*\nReason for the rollback: .* cannot be written: EISDIR/,
    );
    expect(fix).toBe(`Make room and allow writing there, or run the command with WRITE=0. ${THEN}`);
    expect(events.at(-1)).toBe("deploy 100/0, file 100/0");
    expect(readFileSync(path, "utf8")).toBe(FILE);
    rmdirSync(`${path}.promote`);
    expect(await rollBack("requested by BACK=1")).toMatchObject({ outcome: "rolled back" });
    expect(events.at(-1)).toBe("release, file 100/0");
  });
});
