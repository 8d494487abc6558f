import { Writable } from "node:stream";
import { CoreV1Api, Exec, KubeConfig, type V1Pod, type V1Status } from "@kubernetes/client-node";
import { APPLICATION_CONTAINER } from "../settings/names.ts";
import { messageOf, UserError } from "../common/errors.ts";
import { untilAborted } from "../common/wait.ts";
import { type ClusterSettings, stackKubeconfig } from "../common/kubeconfig.ts";
import type { Settings } from "../settings/settings.ts";

/** Longest time for an answer, ms. A connection may break without a sign. */
const ANSWER_MS = 60_000;
const READ_PODS = "read pods and logs (kubectl auth can-i get pods/log)";

/** Client that reads a stack's live mesh: pods, logs and proxies. It changes nothing. */
export class LiveMesh {
  readonly #config: KubeConfig;
  readonly #core: CoreV1Api;
  /** Namespace of the stack. */
  readonly namespace: string;

  /** @throws UserError if the kubeconfig cannot be read or lacks the context */
  constructor(settings: Settings) {
    this.#config = kubeConfig(settings);
    this.#core = this.#config.makeApiClient(CoreV1Api);
    this.namespace = settings.namespace;
  }

  /** Returns the pods of an application that are not terminating, oldest first. */
  async pods(application: string): Promise<V1Pod[]> {
    const { items } = await this.#answered(
      this.#core.listNamespacedPod({ namespace: this.namespace, labelSelector: `app=${application}` }),
    );
    return items
      .filter(({ metadata }) => metadata?.deletionTimestamp === undefined)
      .sort((a, b) => startOf(a) - startOf(b));
  }

  /** Returns the last lines of a container's log. */
  async log(pod: string, container = APPLICATION_CONTAINER, tailLines = 1000): Promise<string> {
    return this.#answered(
      this.#core.readNamespacedPodLog({ name: pod, namespace: this.namespace, container, tailLines }),
    );
  }

  /** Runs a command in a container and returns its output. */
  async exec(pod: string, container: string, command: string[]): Promise<string> {
    const out: Buffer[] = [];
    const errors: Buffer[] = [];
    const ended = new Promise<V1Status>((resolve, reject) => {
      const fail = ({ message }: { message: string }): void => {
        reject(new Error(message));
      };
      new Exec(this.#config)
        .exec(this.namespace, pod, container, command, sink(out), sink(errors), null, false, resolve)
        .then((socket) => {
          socket.onerror = fail;
          socket.onclose = () => {
            fail({ message: "the connection closed before the command ended" });
          };
        }, fail);
    });
    const status = await this.#answered(ended, "run commands in pods (kubectl auth can-i create pods/exec)");
    if (status.status === "Success") return Buffer.concat(out).toString("utf8");
    const reason = Buffer.concat(errors).toString("utf8").trim();
    throw new Error(`${command.join(" ")} in ${pod}: ${status.message ?? "failed"} ${reason}`);
  }

  async #answered<T>(request: Promise<T>, right = READ_PODS): Promise<T> {
    return untilAborted(request, AbortSignal.timeout(ANSWER_MS)).catch((error: unknown) => {
      throw new UserError(
        `the cluster of context ${this.#config.currentContext} refuses or does not answer: ${firstLine(messageOf(error))}`,
        `Check that it runs and that the context may ${right}.`,
        { cause: error },
      );
    });
  }
}

function startOf({ metadata }: V1Pod): number {
  return metadata?.creationTimestamp?.getTime() ?? 0;
}

function firstLine(text: string): string {
  return text.split("\n")[0] ?? "";
}

function sink(chunks: Buffer[]): Writable {
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      chunks.push(chunk);
      done();
    },
  });
}

/**
 * Returns the kubeconfig of a stack, set to its context.
 * @throws UserError if the file cannot be read or lacks the context
 */
export function kubeConfig(settings: ClusterSettings): KubeConfig {
  const config = new KubeConfig();
  config.loadFromString(JSON.stringify(stackKubeconfig(settings)));
  config.setCurrentContext(settings.context);
  return config;
}
