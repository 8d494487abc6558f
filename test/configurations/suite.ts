import fc from "fast-check";
import { isDeepStrictEqual } from "node:util";
import { UserError } from "../../common/errors.ts";
import { healthCheckSettings } from "../../settings/health-check.ts";
import { toYaml } from "../../common/yaml.ts";
import { parseSettings, PROJECT, type Settings, settingsSchema } from "../../settings/settings.ts";
import { check } from "../../policy/rules.ts";
import { type Declared, runProgram } from "../../tools/engine/program.ts";
import { validateObject } from "../schemas/validate.ts";
import { admissionFaults } from "./admission.ts";
import { sensible } from "./arbitrary.ts";
import { brokenReferences } from "./references.ts";
import { asText, type Attempt, garbled, spoilt } from "./spoil.ts";

/** Results of the configurations. */
export interface Tally {
  seed: number;
  runs: number;
  accepted: number;
  refused: number;
  /** Objects of the accepted configurations. */
  objects: number;
  /** Number of configurations without mistakes, and of the accepted ones among them. */
  meant: number;
  meantAccepted: number;
  seconds: number;
  /** Processor time, which other work on the machine hardly changes. */
  cpuSeconds: number;
  /** Objects of the first accepted sensible configurations that have a caller. */
  sample: Declared[];
}

/** Number of runs, and of accepted configurations with a caller in the sample. */
export interface SuiteOptions {
  readonly runs: number;
  readonly kept: number;
}

/** Errors that depend on the files on the disk, not on the configuration. */
const ON_DISK =
  /^dubbo-mesh:services\[\d+\]\.(build: the image's build context .* cannot be read|app: there is no application apps\/)/;

/** Returns the rules that a stack breaks on purpose, by its keys. */
function chosen({ security }: Settings): string[] {
  return security.mtls === "PERMISSIVE" ? ["mtls-strict"] : [];
}

/** Generates configurations; `meant` marks the sensible ones. */
const attempts: fc.Arbitrary<Attempt & { readonly meant: boolean }> = fc.oneof(
  { arbitrary: sensible.map((given) => ({ raw: asText(given), misspelt: [], meant: true })), weight: 10 },
  { arbitrary: spoilt(sensible).map((attempt) => ({ ...attempt, meant: false })), weight: 8 },
  { arbitrary: garbled(sensible).map((attempt) => ({ ...attempt, meant: false })), weight: 2 },
);

function fail(what: string, { raw }: Attempt, cause?: unknown): never {
  const detail = cause instanceof Error ? (cause.stack ?? cause.message) : "";
  throw new Error(`${what}\n${detail}\n${toYaml(raw)}`, { cause });
}

/** Returns the settings, or the error. */
function outcome(attempt: Attempt): Settings | UserError {
  try {
    return parseSettings(attempt.raw);
  } catch (error) {
    return error instanceof UserError ? error : fail("something else is thrown", attempt, error);
  }
}

/** Checks that an error names a key, and each misspelt key. */
function judgeRefusal(attempt: Attempt, { message }: UserError): void {
  const known = [...Object.keys(settingsSchema.shape), ...Object.keys(attempt.raw)];
  if (!known.some((key) => message.includes(`${PROJECT}:${key}`)))
    fail(`no key is named: ${message}`, attempt);
  for (const name of attempt.misspelt) {
    if (!message.includes(name)) fail(`${name} is not named: ${message}`, attempt);
  }
}

/**
 * Checks that the same configuration in YAML, in another order, and with explicit defaults of the
 * check has the same settings.
 */
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

/** Returns the declared objects; undefined if the files to build are not on the disk. */
async function declared(attempt: Attempt, settings: Settings): Promise<Declared | undefined> {
  const file = { stack: "test", directory: ".", encrypted: [], unread: [] };
  try {
    return await runProgram({ ...file, raw: attempt.raw, settings });
  } catch (error) {
    if (error instanceof UserError && ON_DISK.test(error.message)) return undefined;
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
  const faults = [
    ...objects.flatMap(validateObject),
    ...brokenReferences(objects, host),
    ...admissionFaults(objects),
    ...broken,
  ];
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

/** Seed of the random numbers. SEED repeats a run. */
function seedOf(): number {
  const given = process.env["SEED"];
  return given === undefined ? Date.now() % 2 ** 31 : Number(given);
}

/**
 * Runs `action` without stack traces. Pulumi records one for each promise and resource, which takes
 * half of the time.
 */
async function withoutStacks(action: () => Promise<void>): Promise<void> {
  const limit = Object.getOwnPropertyDescriptor(Error, "stackTraceLimit");
  // Pulumi sets the limit itself, so the property must not be writable.
  Object.defineProperty(Error, "stackTraceLimit", { get: () => 0, set: () => undefined, configurable: true });
  try {
    await action();
  } finally {
    Object.defineProperty(Error, "stackTraceLimit", limit ?? { value: 10 });
  }
}

/** Number of runs after which the time is printed. */
const ROUND = 1000;

/**
 * Tries random configurations. An accepted one must give valid objects with valid references. A
 * rejected one must give a UserError that names a key. Other errors are not allowed.
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
