import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { execa } from "execa";
import yaml from "js-yaml";
import type { Service } from "../../settings/graph.ts";
import { toYaml } from "../../common/yaml.ts";
import type { Settings } from "../../settings/settings.ts";

/** The checkout. */
export const PROJECT_DIRECTORY = resolve(import.meta.dirname, "../..");

/** The stack that the tests make and change; its file is not committed. */
export const STACK = "e2e";

/** What tells `make up` and `make down` that what those who call would feel is meant. */
export const CONFIRM = `CONFIRM=${STACK}`;

/** Settings of the sample's pair, and of the stack. */
export interface PairStack extends Readonly<Record<string, unknown>> {
  /** Further keys of the provider. */
  readonly provider?: object;
  /** Further keys of the consumer. */
  readonly consumer?: object;
}

/** Writes the stack's file: the local cluster, a namespace of its own, the sample's pair, and these settings. */
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

/** The sample's pair of a stack. */
export function pairOf({ services }: Settings): { readonly provider: Service; readonly consumer: Service } {
  const [provider, consumer] = ["provider", "consumer"].map((app) =>
    services.find((each) => each.app === app),
  );
  if (provider === undefined || consumer === undefined)
    throw new Error("the stack has not the sample's pair");
  return { provider, consumer };
}

/** A command's answer and the seconds that it took. */
export interface Answer<T> {
  readonly result: T;
  readonly seconds: number;
}

/** Runs a make target as a user does; its steps are shown. With JSON=1 the answer is what it prints. */
export async function make<T>(target: string, ...variables: string[]): Promise<Answer<T>> {
  const start = performance.now();
  const { stdout } = await execa("make", ["--no-print-directory", target, `STACK=${STACK}`, ...variables], {
    cwd: PROJECT_DIRECTORY,
    stderr: "inherit",
  });
  // npm may print before the command does: the answer is the last line.
  const result = yaml.load(stdout.trim().split("\n").at(-1) ?? "", { schema: yaml.JSON_SCHEMA }) as T;
  return { result, seconds: (performance.now() - start) / 1000 };
}

/** Prints a figure beside its goal. */
export function figure(name: string, seconds: number, goal: number): void {
  process.stdout.write(`  figure  ${name}: ${seconds.toFixed(1)} s (goal ${goal} s)\n`);
}
