import { execa, ExecaError } from "execa";
import { KUBECTL as LOCAL_KUBECTL } from "../cluster/local.ts";
import { UserError } from "../lib/errors.ts";
import type { Settings } from "../settings.ts";

/** The cluster that a command talks to. */
export type Target = Pick<Settings, "cluster" | "context" | "kubeconfig">;

/** The command line of kubectl for a cluster: the local cluster brings its own, of the right version. */
export function kubectlCommand({ cluster, context, kubeconfig }: Target): string[] {
  const binary = cluster === "local" ? LOCAL_KUBECTL : ["kubectl"];
  return [...binary, "--context", context, ...(kubeconfig === undefined ? [] : ["--kubeconfig", kubeconfig])];
}

const UNREACHABLE =
  /connection refused|no such host|i\/o timeout|unable to connect|was refused|deadline exceeded/i;

/** What a failed kubectl means to the user. */
function explained(error: unknown, { cluster, context }: Target): unknown {
  if (!(error instanceof ExecaError)) return error;
  const { stderr, code } = error as ExecaError<{ encoding: "utf8" }>;
  const cause = { cause: error };
  if (code === "ENOENT") {
    return cluster === "local"
      ? new UserError("the local cluster has not been built", "Run `make up` first.", cause)
      : new UserError(
          "kubectl is not installed",
          "Install kubectl 1.27 or newer and run the command again.",
          cause,
        );
  }
  if (/context .* does not exist|no context exists|stat .*: no such file/i.test(stderr)) {
    return new UserError(
      `the kubeconfig has no context ${context}`,
      "Choose one of `kubectl config get-contexts` (CONTEXT=NAME, or `pulumi config set context NAME`).",
      cause,
    );
  }
  const reason = stderr.trim().split("\n").at(-1) ?? "";
  if (UNREACHABLE.test(stderr)) {
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
      env: { KUBECTL_APPLYSET: "true" },
      ...(input !== undefined && { input }),
    });
    return stdout;
  } catch (error) {
    throw explained(error, target);
  }
}
