import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { execa } from "execa";
import yaml from "js-yaml";
import type { Service } from "../../settings/graph.ts";
import { toYaml } from "../../common/yaml.ts";
import type { Settings } from "../../settings/settings.ts";

/** Folder of the checkout. */
export const PROJECT_DIRECTORY = resolve(import.meta.dirname, "../..");

/** Stack that the tests make and change. Its file is not committed. */
export const STACK = "e2e";

/** Confirms changes that callers would notice, for `make up` and `make down`. */
export const CONFIRM = `CONFIRM=${STACK}`;

/** Settings of the sample's pair and of the stack. */
export interface PairStack extends Readonly<Record<string, unknown>> {
  /** Further keys of the provider. */
  readonly provider?: object;
  /** Further keys of the consumer. */
  readonly consumer?: object;
}

/**
 * Writes the stack's file: the local cluster, a separate namespace, the sample's pair, and the
 * given settings.
 */
export function writeStack({ provider, consumer, ...settings }: PairStack): void {
  const services = [
    { app: "provider", ...provider },
    { app: "consumer", ...consumer },
  ];
  const config = Object.entries({ cluster: "local", namespace: "dubbo-e2e", services, ...settings }).map(
    ([key, value]) => [`dubbo-mesh:${key}`, value],
  );
  const text = toYaml({ config: Object.fromEntries(config) as object });
  writeFileSync(join(PROJECT_DIRECTORY, `Pulumi.${STACK}.yaml`), text);
}

/** Returns the sample's pair in a stack. */
export function pairOf({ services }: Settings): { readonly provider: Service; readonly consumer: Service } {
  const [provider, consumer] = ["provider", "consumer"].map((app) =>
    services.find((each) => each.app === app),
  );
  if (provider === undefined || consumer === undefined)
    throw new Error("the stack has not the sample's pair");
  return { provider, consumer };
}

/** Result of a command, and its duration in seconds. */
export interface Answer<T> {
  readonly result: T;
  readonly seconds: number;
}

/** Returns a command's answer from its output: the last line, since npm may print before it. */
export function answerOf(stdout: string): unknown {
  return yaml.load(stdout.trim().split("\n").at(-1) ?? "", { schema: yaml.JSON_SCHEMA });
}

/**
 * Runs a make target as a user does, and shows its steps. With JSON=1 the result is the printed
 * answer.
 */
export async function make<T>(target: string, ...variables: string[]): Promise<Answer<T>> {
  const start = performance.now();
  const { stdout } = await execa("make", ["--no-print-directory", target, `STACK=${STACK}`, ...variables], {
    cwd: PROJECT_DIRECTORY,
    stderr: "inherit",
  });
  return { result: answerOf(stdout) as T, seconds: (performance.now() - start) / 1000 };
}

/** Prints a figure with its goal. */
export function figure(name: string, seconds: number, goal: number): void {
  process.stdout.write(`  figure  ${name}: ${seconds.toFixed(1)} s (goal ${goal} s)\n`);
}
