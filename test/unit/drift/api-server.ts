import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Status code and body of an answer, or the objects of a list. */
export type Answer = readonly object[] | { readonly code: number; readonly message: string };

/** Runs the work with a kubeconfig for an API server. A path without an answer does not exist. */
export async function withApiServer<T>(
  answers: Readonly<Record<string, Answer>>,
  work: (kubeconfig: string) => Promise<T>,
): Promise<T> {
  const server = createServer(({ url = "" }, response) => {
    const answer = answers[url] ?? { code: 404, message: "the server could not find the requested resource" };
    const [code, body] = "code" in answer ? [answer.code, answer] : [200, { items: answer }];
    response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify(body));
  }).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const kubeconfig = join(mkdtempSync(join(tmpdir(), "dubbo-mesh-test-")), "kubeconfig");
  const config = {
    clusters: [{ name: "c", cluster: { server: address } }],
    contexts: [{ name: "x", context: { cluster: "c" } }],
  };
  writeFileSync(kubeconfig, JSON.stringify(config));
  try {
    return await work(kubeconfig);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}
