import { once } from "node:events";
import { createInterface } from "node:readline";
import { execa } from "execa";
import { UserError } from "../common/errors.ts";
import type { Settings } from "../settings/settings.ts";
import { kubectlCommand } from "./kubectl.ts";

/**
 * Forwards a local port to a pod, and runs `work` with its address, host:port. The kubelet connects
 * from inside the pod.
 * @throws UserError if the pod cannot be reached
 */
export async function forwarded<T>(
  settings: Settings,
  pod: string,
  port: number,
  work: (address: string) => Promise<T>,
): Promise<T> {
  const [file = "", ...args] = kubectlCommand(settings);
  const forward = ["port-forward", "-n", settings.namespace, `pod/${pod}`, `:${port}`];
  const forwarding = execa(file, [...args, ...forward], { stdin: "ignore", reject: false });
  try {
    const [line] = (await Promise.race([
      once(createInterface({ input: forwarding.stdout }), "line"),
      forwarding.then(({ stderr }) => [stderr]),
    ])) as [string];
    const local = /^Forwarding from \S+:(\d+) ->/.exec(line)?.[1];
    if (local === undefined) {
      throw new UserError(
        `pod ${pod} cannot be reached: ${line.trim()}`,
        "Check that it runs, and that the context may forward ports (kubectl auth can-i create pods/portforward).",
      );
    }
    return await work(`127.0.0.1:${local}`);
  } finally {
    forwarding.kill();
    await forwarding;
  }
}
