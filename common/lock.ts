import { createServer } from "node:net";
import { UserError } from "./errors.ts";

/** Work that one process of this machine does at a time. */
export interface Lock {
  /** Name of the lock. */
  readonly name: string;
  /** Work in words, such as `starting the local cluster`. */
  readonly work: string;
}

/**
 * Runs `work` unless another process holds the lock. On Linux, the lock is a socket in the abstract
 * namespace. The kernel removes it when its process ends. Other systems have no lock.
 * @throws UserError if another process holds the lock
 */
export async function exclusively<T>({ name, work }: Lock, run: () => Promise<T>): Promise<T> {
  if (process.platform !== "linux") return run();
  const lock = createServer().unref();
  await new Promise<void>((resolve, reject) => {
    lock.once("error", () => {
      const fix = "Wait until it ends, then run the command again.";
      reject(new UserError(`another process is ${work}`, fix));
    });
    lock.listen(`\0${name}`, resolve);
  });
  try {
    return await run();
  } finally {
    lock.close();
  }
}
