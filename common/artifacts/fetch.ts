/**
 * Commands that talk to a package registry. They retry a few times, then fail with an error that
 * names the registry.
 */
import { ExecaError, execa } from "execa";
import { UserError } from "../errors.ts";
import { repeated } from "../wait.ts";

const PAUSES_MS = [2_000, 8_000] as const;

/** A command that downloads something. */
interface Fetch {
  /** Name or address of the registry, for the error. */
  readonly registry: string;
  readonly command: readonly [string, ...string[]];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

function outputOf(error: unknown): string {
  return error instanceof ExecaError
    ? `${String(error.stderr)}\n${String(error.stdout)}\n${error.shortMessage}`
    : String(error);
}

function reasonIn(output: string): string {
  return output.split("\n").find(isNetworkFailure)?.trim() ?? "";
}

/**
 * Runs a command that downloads something.
 * @param pauses pauses between the tries, ms
 * @throws UserError if the registry does not answer
 */
export async function fetching(job: Fetch, pauses: readonly number[] = PAUSES_MS): Promise<string> {
  const [program, ...args] = job.command;
  const options = { cwd: job.cwd ?? "/", env: { ...job.env }, stdin: "ignore" } as const;
  const isFinal = (error: unknown): boolean => !isNetworkFailure(outputOf(error));
  const run = async (): Promise<string> => (await execa(program, args, options)).stdout;
  return repeated(run, { pauses, isFinal }).catch((error: unknown) => {
    if (isFinal(error)) throw error;
    throw new UserError(
      `${job.registry} does not answer: ${reasonIn(outputOf(error))}`,
      "Check the network and run the command again; finished parts are kept.",
      { cause: error },
    );
  });
}

const NETWORK_FAILURE =
  /dial tcp|no such host|i\/o timeout|connection (refused|reset)|ECONNREFUSED|ENOTFOUND|ETIMEDOUT|EAI_AGAIN|ECONNRESET|TLS handshake|proxyconnect|unexpected EOF|\b50[0-4] [A-Z]|Unable to locate package|Temporary failure|Could not (resolve|connect)|Unable to connect|Failed to (fetch|establish)|Couldn't download|NewConnectionError|ReadTimeout|Max retries/i;

/** Reports whether a command failed because a registry did not answer. */
export function isNetworkFailure(output: string): boolean {
  return NETWORK_FAILURE.test(output);
}
