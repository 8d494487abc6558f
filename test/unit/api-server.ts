import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs `work` with the kubeconfig of an API server that gives these answers. Its context is x. */
export async function withApiServer<T>(
  answer: RequestListener,
  work: (kubeconfig: string) => Promise<T>,
): Promise<T> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const kubeconfig = join(mkdtempSync(join(tmpdir(), "dubbo-mesh-test-")), "kubeconfig");
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  writeFileSync(
    kubeconfig,
    `clusters: [{ name: c, cluster: { server: "${address}", insecure-skip-tls-verify: true } }]\nusers: [{ name: u, user: {} }]\n` +
      "contexts: [{ name: x, context: { cluster: c, user: u } }]\n",
  );
  try {
    return await work(kubeconfig);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
