import { copyFileSync, mkdirSync, mkdtempSync, readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { execa } from "execa";
import { binaryPath } from "../../common/artifacts/cache.ts";
import { ENGINE_DIR, NAME } from "../../common/local-cluster.ts";
import { answerOf, PROJECT_DIRECTORY, STACK } from "./make.ts";

/** Any user without a name on this machine. */
const USER = "61000";

/** Programs of the laptop: the file of each, by its name there. */
function programs(): Readonly<Record<string, string>> {
  return {
    node: process.execPath,
    kind: binaryPath("kind"),
    kubectl: binaryPath("kube"),
    pulumi: binaryPath("pulumi"),
    "pulumi-resource-kubernetes": binaryPath("pulumi-resource-kubernetes"),
  };
}

/**
 * Moves a command to the network of docker's engine, hides the files with which this project knows
 * an engine of its own, and drops root's rights. Arguments: home folder, user, group, command.
 */
const ENTER = `
mount --bind ${ENGINE_DIR}/docker.sock "$1/docker.sock"
mount -t tmpfs none /run
cd "$1/dubbo-mesh"
home=$1 user=$2 group=$3; shift 3
exec setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs env -i HOME="$home" "$@"`;

/**
 * User with a laptop: no root, but in the group docker; a checkout, kind, kubectl and Pulumi; no
 * Go, no debootstrap. Docker's engine and this user share a network, which has no way out.
 */
export class Laptop {
  readonly #home = mkdtempSync(join(tmpdir(), "dubbo-mesh-laptop-"));
  readonly #env: Readonly<Record<string, string>>;

  /** @param env environment variables of the user's commands */
  constructor(env: Readonly<Record<string, string>>) {
    const bin = join(this.#home, "bin");
    this.#env = {
      ...env,
      USER: "laptop",
      PATH: [bin, "/usr/local/bin", "/usr/bin", "/bin"].join(delimiter),
      DOCKER_HOST: `unix://${join(this.#home, "docker.sock")}`,
      PULUMI_BACKEND_URL: `file://${this.#home}`,
    };
    mkdirSync(bin);
    for (const [name, file] of Object.entries(programs())) copyFileSync(file, join(bin, name));
  }

  /** Copies the checkout, with its packages, to the user. */
  async takeCheckout(): Promise<void> {
    const left = new Set([".git", ".pulumi-home", "test-results"]);
    const names = readdirSync(PROJECT_DIRECTORY).filter((name) => !left.has(name));
    await this.#take(names);
    await execa`touch ${join(this.#home, "docker.sock")}`;
  }

  /** Copies the stack's file to the user. */
  async takeStack(): Promise<void> {
    await this.#take([`Pulumi.${STACK}.yaml`]);
  }

  async #take(names: readonly string[]): Promise<void> {
    const sources = names.map((name) => join(PROJECT_DIRECTORY, name));
    const checkout = join(this.#home, "dubbo-mesh");
    mkdirSync(checkout, { recursive: true });
    await execa("cp", ["-a", ...sources, checkout]);
    await execa`chown -R ${USER}:docker ${this.#home}`;
  }

  /** Runs a command in the checkout, and shows its errors. */
  async run(command: string, ...args: string[]): Promise<string> {
    const group = (await execa`getent group docker`).stdout.split(":")[2] ?? "";
    const variables = Object.entries(this.#env).map(([name, value]) => `${name}=${value}`);
    const enter = ["sh", "-euc", ENTER, "sh", this.#home, USER, group, ...variables, command, ...args];
    const { stdout } = await execa("nsenter", [`--net=/run/netns/${NAME}`, "unshare", "--mount", ...enter], {
      stderr: "inherit",
    });
    return stdout;
  }

  /** Runs a make target. With JSON=1 it returns the printed answer. */
  async make<T>(target: string, ...variables: string[]): Promise<T> {
    const args = ["--no-print-directory", target, `STACK=${STACK}`, ...variables];
    return answerOf(await this.run("make", ...args)) as T;
  }
}
