import fc from "fast-check";
import * as pulumi from "@pulumi/pulumi";
import { isDeepStrictEqual } from "node:util";
import { UserError } from "../../common/errors.ts";
import { healthCheckSettings } from "../../settings/health-check.ts";
import { toYaml } from "../../common/yaml.ts";
import { parseSettings, PROJECT, type Settings, settingsSchema } from "../../settings/settings.ts";
import { check } from "../../policy/rules.ts";
import { type Declared, runProgram } from "../../tools/engine/program.ts";
import { validateObject } from "../schemas/validate.ts";
import { sensible } from "./arbitrary.ts";
import { brokenReferences } from "./references.ts";
import { asText, type Attempt, garbled, spoilt } from "./spoil.ts";

/** What has come of the configurations. */
export interface Tally {
  seed: number;
  runs: number;
  accepted: number;
  refused: number;
  /** The objects of the accepted ones. */
  objects: number;
  /** Those that nothing was spoilt in, and how many of them were accepted. */
  meant: number;
  meantAccepted: number;
  seconds: number;
  /** What they took of the processor, which other work on the machine does not lengthen much. */
  cpuSeconds: number;
  /** What the program declares for the first sensible configurations that were accepted and have a caller. */
  sample: Declared[];
}

/** How many are tried, and how many of the accepted ones that have a caller are kept. */
export interface SuiteOptions {
  readonly runs: number;
  readonly kept: number;
}

/** Nobody can know these when the configuration is read: they are told by what is on the disk. */
const ON_DISK =
  /^dubbo-mesh:services\[\d+\]\.(build: the image's build context .* cannot be read|app: there is no application apps\/)/;

/** Rules that a stack breaks knowingly, since a key of its says so. */
function chosen({ security, services }: Settings): string[] {
  const http1 = services.some(({ healthCheck: { http_health_check: http } }) => {
    return http !== undefined && http.codec_client_type !== "HTTP2";
  });
  return [...(security.mtls === "PERMISSIVE" ? ["mtls-strict"] : []), ...(http1 ? ["check-fits-port"] : [])];
}

/** The configurations, and whether somebody could have meant it. */
const attempts: fc.Arbitrary<Attempt & { readonly meant: boolean }> = fc.oneof(
  { arbitrary: sensible.map((given) => ({ raw: asText(given), misspelt: [], meant: true })), weight: 10 },
  { arbitrary: spoilt(sensible).map((attempt) => ({ ...attempt, meant: false })), weight: 8 },
  { arbitrary: garbled(sensible).map((attempt) => ({ ...attempt, meant: false })), weight: 2 },
);

function fail(what: string, { raw }: Attempt, cause?: unknown): never {
  const detail = cause instanceof Error ? (cause.stack ?? cause.message) : "";
  throw new Error(`${what}\n${detail}\n${toYaml(raw)}`, { cause });
}

/** The settings, or why they are refused. */
function outcome(attempt: Attempt): Settings | UserError {
  try {
    return parseSettings(attempt.raw);
  } catch (error) {
    return error instanceof UserError ? error : fail("something else is thrown", attempt, error);
  }
}

/** A refusal names a key, and each one that is misspelt. */
function judgeRefusal(attempt: Attempt, { message }: UserError): void {
  const known = [...Object.keys(settingsSchema.shape), ...Object.keys(attempt.raw)];
  if (!known.some((key) => message.includes(`${PROJECT}:${key}`)))
    fail(`no key is named: ${message}`, attempt);
  for (const name of attempt.misspelt) {
    if (!message.includes(name)) fail(`${name} is not named: ${message}`, attempt);
  }
}

/** The same configuration, written in YAML and in another order, is the same; a check that has its defaults keeps them. */
function judgeSettings(attempt: Attempt, settings: Settings): void {
  if (attempt.misspelt.length > 0) fail(`${attempt.misspelt.join(", ")} is taken`, attempt);
  const again = Object.fromEntries(Object.entries(attempt.raw).reverse());
  if (!isDeepStrictEqual(parseSettings(again), settings))
    fail("it is read differently in another order", attempt);
  for (const { healthCheck } of settings.services) {
    if (!isDeepStrictEqual(healthCheckSettings.parse(healthCheck), healthCheck))
      fail("a check with its defaults is read differently", attempt);
  }
}

/** What the program declares; undefined where the disk has not what it is to build. */
async function declared(attempt: Attempt, settings: Settings): Promise<Declared | undefined> {
  const file = { stack: "test", directory: ".", path: "", overridden: false, encrypted: [] };
  try {
    return await runProgram({ ...file, raw: attempt.raw, settings });
  } catch (error) {
    if (error instanceof pulumi.RunError && ON_DISK.test(error.message)) return undefined;
    return fail("the program throws", attempt, error);
  }
}

function judgeObjects(attempt: Attempt, { objects }: Declared, settings: Settings): void {
  const { namespace, clusterDomain } = settings;
  const knowingly = chosen(settings);
  const host = (name: string): string => `${name}.${namespace}.svc.${clusterDomain}`;
  const broken = check(objects)
    .filter(({ severity, rule }) => severity === "error" && !knowingly.includes(rule))
    .map(({ rule, object, path, message }) => `${rule}: ${object} ${path ?? ""} ${message}`);
  const faults = [...objects.flatMap(validateObject), ...brokenReferences(objects, host), ...broken];
  if (faults.length > 0) fail(faults.join("\n"), attempt);
}

type Count = Pick<Tally, "accepted" | "refused" | "objects" | "meant" | "meantAccepted"> & {
  sample: Declared[];
};

async function judge(
  attempt: Attempt & { readonly meant: boolean },
  count: Count,
  kept: number,
): Promise<void> {
  const settings = outcome(attempt);
  if (attempt.meant) count.meant++;
  if (settings instanceof UserError) {
    judgeRefusal(attempt, settings);
    count.refused++;
    return;
  }
  judgeSettings(attempt, settings);
  const program = await declared(attempt, settings);
  count.accepted++;
  if (program === undefined) return;
  judgeObjects(attempt, program, settings);
  count.objects += program.objects.length;
  if (!attempt.meant) return;
  count.meantAccepted++;
  const calls = program.objects.some(({ kind }) => kind === "EnvoyFilter");
  if (calls && count.sample.length < kept) count.sample.push(program);
}

/** Where the random numbers begin: SEED repeats a run. */
function seedOf(): number {
  const given = process.env["SEED"];
  return given === undefined ? Date.now() % 2 ** 31 : Number(given);
}

/** Runs `action` without stacks: Pulumi takes one of every promise and resource, which is half of the time. */
async function withoutStacks(action: () => Promise<void>): Promise<void> {
  const limit = Object.getOwnPropertyDescriptor(Error, "stackTraceLimit");
  // Pulumi sets the limit itself: only what cannot be set stays.
  Object.defineProperty(Error, "stackTraceLimit", { get: () => 0, set: () => undefined, configurable: true });
  try {
    await action();
  } finally {
    Object.defineProperty(Error, "stackTraceLimit", limit ?? { value: 10 });
  }
}

/** Runs after which the time is printed. */
const ROUND = 1000;

/**
 * Tries random configurations: what is accepted gives objects that pass every schema and hold together, what is refused is refused by a
 * UserError that names a key, and nothing else is thrown.
 * @throws Error with the smallest configuration that breaks this, and the seed
 */
export async function tryConfigurations({ runs, kept }: SuiteOptions): Promise<Tally> {
  const seed = seedOf();
  process.stdout.write(`  configurations: SEED=${seed} repeats them\n`);
  const count: Count = { accepted: 0, refused: 0, objects: 0, meant: 0, meantAccepted: 0, sample: [] };
  await import("../../index.ts");
  const start = performance.now();
  const seconds = (): number => (performance.now() - start) / 1000;
  const cpu = process.cpuUsage();
  const property = fc.asyncProperty(attempts, async (attempt) => {
    await judge(attempt, count, kept);
    const done = count.accepted + count.refused;
    if (done % ROUND === 0) process.stdout.write(`  configurations: ${done}, ${seconds().toFixed(0)} s\n`);
  });
  await withoutStacks(() => fc.assert(property, { numRuns: runs, seed }));
  const { user, system } = process.cpuUsage(cpu);
  const tally = { seed, runs, ...count, seconds: seconds(), cpuSeconds: (user + system) / 1e6 };
  process.stdout.write(`  figure  configurations: ${describeTally(tally)}\n`);
  return tally;
}

function describeTally(tally: Tally): string {
  const { runs, accepted, refused, objects, meant, meantAccepted } = tally;
  const time = `${tally.seconds.toFixed(0)} s (${tally.cpuSeconds.toFixed(0)} s of CPU)`;
  return (
    `${runs} in ${time}, ${accepted} accepted with ${objects} objects, ${refused} refused; ` +
    `of ${meant} sensible ones ${meantAccepted} accepted`
  );
}
