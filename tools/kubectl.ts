import { execa, ExecaError } from "execa";
import { localKubectl } from "../common/local-cluster.ts";
import { UserError } from "../common/errors.ts";
import type { Settings } from "../settings/settings.ts";

/** Settings that select the cluster of a command. */
export type Target = Pick<Settings, "cluster" | "context" | "kubeconfig">;

/**
 * Returns the kubectl command line for a cluster. The local cluster includes a matching kubectl.
 */
export function kubectlCommand({ cluster, context, kubeconfig }: Target): string[] {
  const binary = cluster === "local" ? localKubectl() : ["kubectl"];
  return [...binary, "--context", context, ...(kubeconfig === undefined ? [] : ["--kubeconfig", kubeconfig])];
}

const CANNOT_START = /^(ENOENT|ENOTDIR|EACCES)$/;
const UNREACHABLE =
  /connection refused|no such host|i\/o timeout|unable to connect|was refused|deadline exceeded/i;
const NO_CONTEXT = /context .* does not exist|context was not found/i;
const NO_KUBECONFIG = /stat .*: no such file|error loading config file/i;

/** Converts a failure to read the kubeconfig to a user error. */
function noKubeconfig(cluster: Target["cluster"], reason: string, cause: ErrorOptions): UserError {
  return cluster === "local"
    ? new UserError("the local cluster is not running", "Run `make up` first.", cause)
    : new UserError(`the kubeconfig cannot be read: ${reason}`, "Check its path and content.", cause);
}

/** Converts a kubectl failure to a user error. */
function toUserError(error: unknown, { cluster, context }: Target): unknown {
  if (!(error instanceof ExecaError)) return error;
  const { stderr, code } = error as ExecaError<{ encoding: "utf8" }>;
  const cause = { cause: error };
  // A local cluster that is built from packages includes kubectl.
  const first = cluster === "local" ? "Run `make up` first, which may bring one. " : "";
  if (CANNOT_START.test(code ?? ""))
    return new UserError(
      "kubectl is not installed",
      `${first}Install kubectl 1.27 or newer and run the command again.`,
      cause,
    );
  const reason = stderr.trim().split("\n").at(-1) ?? "";
  if (NO_CONTEXT.test(reason)) {
    return new UserError(
      `the kubeconfig has no context ${context}`,
      "Choose one of `kubectl config get-contexts` (CONTEXT=NAME, or `pulumi config set -s STACK context NAME`).",
      cause,
    );
  }
  if (NO_KUBECONFIG.test(reason)) return noKubeconfig(cluster, reason, cause);
  // An error about a webhook does not mean that the cluster is unreachable.
  if (UNREACHABLE.test(reason) && !stderr.includes("webhook")) {
    return new UserError(
      `the cluster of context ${context} does not answer: ${reason}`,
      "Start it, or choose another context.",
      cause,
    );
  }
  return new UserError(
    `kubectl failed: ${stderr.trim()}`,
    "Fix the reported problem and run the command again.",
    cause,
  );
}

/**
 * Runs kubectl and returns its output.
 * @param input text for standard input
 * @throws UserError if kubectl is missing, the cluster does not answer or kubectl reports an error
 */
export async function kubectl(target: Target, args: readonly string[], input?: string): Promise<string> {
  const [file = "", ...rest] = kubectlCommand(target);
  try {
    const { stdout } = await execa(file, [...rest, ...args], {
      // kubectl prompts for a user name if the context has no credentials. Closed input avoids the
      // prompt.
      ...(input === undefined ? { stdin: "ignore" } : { input }),
    });
    return stdout;
  } catch (error) {
    throw toUserError(error, target);
  }
}
