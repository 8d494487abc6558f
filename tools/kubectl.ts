import { execa, ExecaError } from "execa";
import { localKubectl } from "../common/local-cluster.ts";
import { UserError } from "../common/errors.ts";
import type { Settings } from "../settings/settings.ts";

/** The cluster that a command talks to. */
export type Target = Pick<Settings, "cluster" | "context" | "kubeconfig">;

/** The command line of kubectl for a cluster: the local cluster brings its own, of the right version. */
export function kubectlCommand({ cluster, context, kubeconfig }: Target): string[] {
  const binary = cluster === "local" ? localKubectl() : ["kubectl"];
  return [...binary, "--context", context, ...(kubeconfig === undefined ? [] : ["--kubeconfig", kubeconfig])];
}

const CANNOT_START = /^(ENOENT|ENOTDIR|EACCES)$/;
const UNREACHABLE =
  /connection refused|no such host|i\/o timeout|unable to connect|was refused|deadline exceeded/i;
const NO_CONTEXT = /context .* does not exist|context was not found/i;
const NO_KUBECONFIG = /stat .*: no such file|error loading config file/i;

/** What a kubeconfig that cannot be read means to the user. */
function noKubeconfig(cluster: Target["cluster"], reason: string, cause: ErrorOptions): UserError {
  return cluster === "local"
    ? new UserError("the local cluster is not running", "Run `make up` first.", cause)
    : new UserError(`the kubeconfig cannot be read: ${reason}`, "Check its path and content.", cause);
}

/** What a failed kubectl means to the user. */
function explained(error: unknown, { cluster, context }: Target): unknown {
  if (!(error instanceof ExecaError)) return error;
  const { stderr, code } = error as ExecaError<{ encoding: "utf8" }>;
  const cause = { cause: error };
  // A cluster that is made from packages brings its own.
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
      "Choose one of `kubectl config get-contexts` (CONTEXT=NAME, or `pulumi config set context NAME`).",
      cause,
    );
  }
  if (NO_KUBECONFIG.test(reason)) return noKubeconfig(cluster, reason, cause);
  // A webhook that does not answer is one inside a cluster that does.
  if (UNREACHABLE.test(reason) && !stderr.includes("webhook")) {
    return new UserError(
      `the cluster of context ${context} does not answer: ${reason}`,
      "Start it, or choose another context.",
      cause,
    );
  }
  return new UserError(
    `kubectl failed: ${stderr.trim()}`,
    "Mend what it names and run the command again.",
    cause,
  );
}

/**
 * Runs kubectl and returns what it prints.
 * @param input text for its standard input
 * @throws UserError where kubectl is missing, the cluster does not answer or kubectl reports an error
 */
export async function kubectl(target: Target, args: readonly string[], input?: string): Promise<string> {
  const [file = "", ...rest] = kubectlCommand(target);
  try {
    const { stdout } = await execa(file, [...rest, ...args], {
      // It asks for a user's name where a context has no credentials: nobody would answer.
      ...(input === undefined ? { stdin: "ignore" } : { input }),
    });
    return stdout;
  } catch (error) {
    throw explained(error, target);
  }
}
