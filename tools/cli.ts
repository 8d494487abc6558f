import { resolve } from "node:path";
import { Command, CommanderError, Option } from "commander";
import { reportError, UserError } from "../common/errors.ts";
import type { Engine } from "./engine/engine.ts";
import type { Overrides, StackFile } from "../stack/stack-file.ts";
import type * as Report from "./report.ts";
import type { ReviewTarget } from "./review-stack.ts";

// Each command imports its modules when it runs, because the Pulumi SDK takes half a second to
// load.

interface CommonOptions {
  readonly stack: string;
  readonly json: boolean;
  readonly context?: string;
  readonly istio?: string;
  readonly registry?: string;
}

interface UpOptions extends CommonOptions {
  readonly confirm?: string;
}

interface DownOptions extends UpOptions {
  readonly images: boolean;
}

interface QosOptions extends CommonOptions {
  readonly pod?: string;
  readonly command: string;
}

interface PromoteFlags extends CommonOptions {
  readonly service?: string;
  readonly version?: string;
  readonly continue: boolean;
  readonly back: boolean;
  readonly write: boolean;
}

const DIRECTORY = resolve(import.meta.dirname, "..");

function overridesOf({ context, registry, istio }: CommonOptions): Overrides {
  return {
    ...(istio !== undefined && { istio: `{ mode: ${istio} }` }),
    ...(context !== undefined && { cluster: "existing", context }),
    ...(registry !== undefined && { registry }),
  };
}

async function stackFile(options: CommonOptions): Promise<StackFile> {
  const { readStackFile } = await import("../stack/stack-file.ts");
  return readStackFile(DIRECTORY, options.stack, overridesOf(options));
}

/** Reads a stack's file, and rejects encrypted values that its settings lack. */
async function readFully(options: CommonOptions): Promise<StackFile> {
  const { rejectUnread } = await import("../stack/stack-file.ts");
  const file = await stackFile(options);
  rejectUnread(file);
  return file;
}

/**
 * Reads a stack's file and rejects a target that another stack already uses. The program rejects it
 * too, but `up` may first take minutes to start the cluster.
 */
async function deployable(options: CommonOptions): Promise<StackFile> {
  const { rejectCollision } = await import("../stack/files.ts");
  const file = await stackFile(options);
  await rejectCollision(file);
  return file;
}

/** Prints a result as one JSON object, or as text. */
async function print(json: boolean, result: unknown, text: (report: typeof Report) => string): Promise<void> {
  process.stdout.write(`${json ? JSON.stringify(result) : text(await import("./report.ts"))}\n`);
}

async function runUp(options: UpOptions): Promise<void> {
  const { up } = await import("./up.ts");
  const file = await deployable(options);
  const result = await up(file, options.confirm);
  const unheard =
    file.unread.length > 0
      ? `not waited for a reply: the stack encrypts ${file.unread.join(", ")}`
      : "the stack runs no consumer that logs its replies";
  await print(options.json, result, ({ changesText, outputsText }) =>
    [changesText(result.changes), result.reply ?? unheard, outputsText(result.outputs)].join("\n\n"),
  );
}

/**
 * Returns the engine of a stack and checks that its context exists. Pulumi's preview does not
 * report a missing context.
 */
async function engineOf(file: StackFile): Promise<Engine> {
  const [{ Engine }, { stackKubeconfig }] = await Promise.all([
    import("./engine/engine.ts"),
    import("../common/kubeconfig.ts"),
  ]);
  stackKubeconfig(file.settings);
  return Engine.of(file);
}

async function runPreview(options: CommonOptions): Promise<void> {
  const file = await stackFile(options);
  const engine = await engineOf(file);
  const preview = await engine.preview();
  await print(options.json, preview, ({ previewText }) => previewText(file.stack, preview));
}

async function runDown(options: DownOptions): Promise<void> {
  const [{ confirmRemoval }, { down, maskedOrNone }] = await Promise.all([
    import("./confirm.ts"),
    import("./down.ts"),
  ]);
  const given = await stackFile(options);
  await confirmRemoval(given, options.confirm);
  const engine = await engineOf(given);
  const { readMaskedStackFile } = await import("../stack/stack-file.ts");
  const masked = await maskedOrNone(given, () =>
    readMaskedStackFile(DIRECTORY, options.stack, overridesOf(options)),
  );
  const result = await down(given, masked, engine, options.images);
  await print(options.json, result, ({ downText }) => downText(result));
}

async function runDrift(options: CommonOptions): Promise<void> {
  const { drift, driftText, isDrift } = await import("./drift/drift.ts");
  const file = await stackFile(options);
  const report = await drift(file, await engineOf(file));
  await print(options.json, report, () => driftText(report));
  if (isDrift(report)) process.exitCode = 1;
}

async function runRepair(options: CommonOptions): Promise<void> {
  const engine = await engineOf(await stackFile(options));
  const repair = await engine.repair();
  await print(options.json, { repair }, ({ repairText }) => repairText(options.stack, repair));
}

async function runGolden(): Promise<void> {
  const { writeGolden } = await import("./golden.ts");
  const files = await writeGolden(DIRECTORY);
  process.stdout.write(`${files.length === 0 ? "no change" : files.join("\n")}\n`);
}

interface CiPreviewOptions {
  readonly base: string;
  readonly preview: string;
  readonly json: boolean;
}

/**
 * Returns a readable preview of a stack. A failed preview sets the exit code, and the text
 * describes the error.
 */
async function enginePreview(stack: string): Promise<string> {
  try {
    const options = { stack, json: false };
    const engine = await engineOf(await stackFile(options));
    return (await import("./report.ts")).previewText(stack, await engine.preview());
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    process.exitCode = 1;
    return `error: ${error.message}\n  fix: ${error.fix}`;
  }
}

async function runCiPreview({ base, preview, json }: CiPreviewOptions): Promise<void> {
  const [{ ciPreview }, { ciComment }] = await Promise.all([
    import("./ci-preview.ts"),
    import("./ci-comment.ts"),
  ]);
  const changed = await ciPreview(DIRECTORY, base);
  const previews = new Map<string, string>();
  for (const stack of preview.split(/[ ,]+/).filter((name) => name !== "")) {
    previews.set(stack, await enginePreview(stack));
  }
  const result = { ...changed, previews: Object.fromEntries(previews) };
  await print(json, result, () => ciComment(changed, previews));
}

async function runReviewStack(pullRequest: string, target: ReviewTarget): Promise<void> {
  const { writeReviewStack } = await import("./review-stack.ts");
  process.stdout.write(`${await writeReviewStack(DIRECTORY, pullRequest, target)}\n`);
}

async function runRender(options: CommonOptions & { readonly out: string }): Promise<void> {
  const { render } = await import("./render.ts");
  const files = await render(await stackFile(options), resolve(options.out));
  await print(options.json, { files }, () => files.join("\n"));
}

async function runGraph(options: CommonOptions): Promise<void> {
  const { mermaid, meshGraph } = await import("./graph.ts");
  const graph = meshGraph((await readFully(options)).settings);
  await print(options.json, graph, () => mermaid(graph));
}

async function runLint(files: readonly string[], options: CommonOptions): Promise<void> {
  const { lintFiles, lintStack, lintText } = await import("./lint.ts");
  const report = files.length > 0 ? await lintFiles(files) : await lintStack(await stackFile(options));
  await print(options.json, report, () => lintText(report));
  if (report.errors > 0) process.exitCode = 1;
}

async function runVerify(options: CommonOptions): Promise<void> {
  const { verify, verifyText } = await import("./verify/verify.ts");
  const report = await verify(await readFully(options));
  await print(options.json, report, () => verifyText(report));
  if (!report.ok) process.exitCode = 1;
}

async function runPromote(options: PromoteFlags): Promise<void> {
  const [{ promote }, { promotionText, stepHead, stepText }] = await Promise.all([
    import("./promote/promote.ts"),
    import("./promote/text.ts"),
  ]);
  const { json, service, version, write } = options;
  const file = await readFully(options);
  const engine = await engineOf(file);
  const lines = [stepHead()];
  const report = await promote(file, engine, {
    service,
    version,
    interrupted: options.back ? "back" : options.continue ? "continue" : undefined,
    write,
    overrides: overridesOf(options),
    onStep: (step) => {
      lines.push(stepText(step));
      if (!json) process.stdout.write(`${lines.splice(0).join("\n")}\n`);
    },
  });
  await print(json, report, () => promotionText(options.stack, report));
  if (report.outcome === "rolled back" && !options.back) process.exitCode = 1;
}

async function runExplain(options: CommonOptions & { readonly key: string }): Promise<void> {
  const [{ explain }, { explanationText }] = await Promise.all([
    import("./explain/explain.ts"),
    import("./explain/text.ts"),
  ]);
  const overrides = Object.keys(overridesOf(options));
  const explanation = await explain(await stackFile(options), options.key, overrides);
  await print(options.json, explanation, () => explanationText(explanation));
}

async function runQos(options: QosOptions): Promise<void> {
  const { qos } = await import("./qos.ts");
  const answer = await qos(await readFully(options), options.command, options.pod);
  await print(options.json, answer, () => answer.body.trimEnd());
  if (answer.status !== 200) process.exitCode = 1;
}

/** Prints `export` lines. With them, plain `pulumi` uses the engine and backend of this CLI. */
async function runEnv({ json }: { readonly json: boolean }): Promise<void> {
  const [{ engineEnvironment }, { quoted }] = await Promise.all([
    import("./engine/engine.ts"),
    import("./report.ts"),
  ]);
  const variables = await engineEnvironment();
  const lines = Object.entries(variables).map(([name, value]) => `export ${name}=${quoted(value)}`);
  await print(json, variables, () => lines.join("\n"));
}

function nodesOf(text: string): number {
  if (text === "1" || text === "2") return Number(text);
  throw new UserError(`the local cluster has 1 or 2 nodes, not ${text}`, "Set NODES=1 or NODES=2.");
}

async function runClusterUp({ nodes }: { readonly nodes?: number }): Promise<void> {
  const [{ clusterUp }, { findEngine }] = await Promise.all([
    import("../packages/local-cluster/cluster.ts"),
    import("./engine/find.ts"),
  ]);
  await clusterUp(findEngine, nodes);
}

async function runClusterClean(): Promise<void> {
  const { clusterClean } = await import("../packages/local-cluster/cluster.ts");
  process.stdout.write(`removed ${((await clusterClean()) / 1024 ** 3).toFixed(1)} GiB\n`);
}

async function runClusterStatus({ json }: CommonOptions): Promise<void> {
  const { clusterStatus } = await import("../packages/local-cluster/cluster.ts");
  const status = await clusterStatus();
  await print(json, status, ({ table }) =>
    table(status.components.map(({ name, ready }) => [name, ready ? "ready" : "down"])),
  );
}

function stackCommand(program: Command, name: string, description: string): Command {
  return program
    .command(name)
    .description(description)
    .option("--stack <name>", "stack: Pulumi.<name>.yaml", "dev")
    .option("--context <name>", "kubectl context to use instead of the stack's")
    .option("--registry <host/organisation>", "registry to push to instead of the stack's")
    .addOption(
      new Option("--istio <mode>", "source of Istio to use instead of the stack's").choices([
        "existing",
        "crds",
        "install",
      ]),
    )
    .option("--json", "print one JSON object", false);
}

function operatorCommands(program: Command): void {
  stackCommand(program, "verify", "check the live mesh: pods, addresses, calls, logs, health checks").action(
    runVerify,
  );
  stackCommand(program, "qos", "call a command of a pod's QOS server")
    .option("--pod <name>", "pod (default: the first pod of a caller)")
    .requiredOption("--command <name>", "ls, ready, live, startup, online, offline or metrics")
    .action(runQos);
}

function clusterCommands(program: Command): void {
  const cluster = program.command("cluster").description("the local cluster");
  cluster
    .command("up")
    .description("start it, and build missing parts")
    .option("--nodes <number>", "number of nodes, 1 or 2 (default: the current number, else 1)", nodesOf)
    .action(runClusterUp);
  cluster
    .command("down")
    .description("remove it, but keep what was built")
    .action(async () => (await import("../packages/local-cluster/cluster.ts")).clusterDown());
  cluster
    .command("status")
    .description("its components")
    .option("--json", "print one JSON object", false)
    .action(runClusterStatus);
  cluster
    .command("clean")
    .description("remove it and everything that was built for it")
    .action(runClusterClean);
}

function pullRequestCommands(program: Command): void {
  program
    .command("golden")
    .description("write the committed stacks' objects to test/golden")
    .action(runGolden);
  program
    .command("ci-preview")
    .description("show what the checkout changes in the committed stacks, as Markdown")
    .option("--base <revision>", "branch or commit to compare with", "origin/main")
    .option("--preview <stacks>", "stacks to preview on their clusters as well", "")
    .option("--json", "print one JSON object", false)
    .action(runCiPreview);
  program
    .command("review-stack <pull-request>")
    .description("write the file of a pull request's stack, pr-NUMBER")
    .option("--context <name>", "kubectl context to deploy to instead of the local cluster")
    .option("--registry <host/organisation>", "registry to push to")
    .action(runReviewStack);
}

function commands(): Command {
  const program = new Command("dubbo-mesh").exitOverride().configureOutput({ outputError: () => undefined });
  stackCommand(program, "up", "deploy the stack and wait for the consumer's first reply")
    .option("--confirm <stack>", "name of the stack, to confirm changes that callers notice")
    .action(runUp);
  stackCommand(program, "preview", "show what up would change").action(runPreview);
  stackCommand(program, "render", "write the stack's objects as YAML, without docker or cluster")
    .requiredOption("--out <directory>", "folder to write to")
    .action(runRender);
  stackCommand(program, "explain", "show where a setting comes from and which fields it changes")
    .requiredOption("--key <key>", "configuration key, such as services[0].port")
    .action(runExplain);
  stackCommand(program, "graph", "print the mesh as a Mermaid flowchart").action(runGraph);
  stackCommand(program, "lint", "check manifests, or the stack's objects, by the rules of policy/")
    .argument(
      "[files...]",
      "files or folders of YAML, or - for standard input (default: the stack's objects)",
    )
    .action(runLint);
  stackCommand(program, "down", "remove the stack, and list what stays")
    .option("--confirm <stack>", "name of the stack, to confirm the removal of production")
    .option("--images", "also remove the stack's images from docker", false)
    .action(runDown);
  stackCommand(program, "promote", "move a version's weight up in steps, and back if it is worse")
    .option("--service <name>", "service of the version")
    .option("--version <name>", "version to promote")
    .addOption(
      new Option("--continue", "go on with an interrupted promotion").default(false).conflicts("back"),
    )
    .option("--back", "restore the weights of an interrupted promotion", false)
    .option("--no-write", "print the change of the stack file instead of writing it")
    .action(runPromote);
  stackCommand(program, "drift", "show how the cluster differs from what up left there").action(runDrift);
  stackCommand(program, "repair", "update the state from the cluster after an interrupted command").action(
    runRepair,
  );
  program
    .command("env")
    .description("print the environment for plain pulumi")
    .option("--json", "print one JSON object", false)
    .action(runEnv);
  pullRequestCommands(program);
  operatorCommands(program);
  clusterCommands(program);
  return program;
}

/** Reports an error and returns the exit code. */
function report(error: unknown): number {
  const json = process.argv.includes("--json");
  if (!(error instanceof CommanderError)) return reportError(error, json);
  // Commander throws after it has printed the help. It has not printed errors.
  if (error.code.startsWith("commander.help")) return error.exitCode;
  const message = error.message.replace(/^error: /, "");
  return reportError(new UserError(message, "Run the command with --help, or run `make help`."), json);
}

try {
  await commands().parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
