import { createServer, type Server } from "node:http";

/** A check of the application's own; a rejected one counts as false. */
export type LivenessCheck = () => boolean | Promise<boolean>;

/** Path of each probe, and what decides its answer. */
export type Probes = Readonly<Record<string, LivenessCheck>>;

async function holds(check: LivenessCheck): Promise<boolean> {
  try {
    return await check();
  } catch {
    return false;
  }
}

/** Whether every check holds. */
export async function allHold(checks: readonly LivenessCheck[]): Promise<boolean> {
  const results = await Promise.all(checks.map(holds));
  return results.every(Boolean);
}

/** The HTTP server for the kubelet, as Dubbo's QOS server answers it: 200 `true` or 503 `false`. */
export function probeServer(probes: Probes): Server {
  return createServer((request, response) => {
    const answer = (code: number, body: string): void => {
      response.writeHead(code, { "content-type": "text/plain" }).end(body);
    };
    const path = (request.url ?? "").replace(/\?.*/s, "");
    const probe = Object.hasOwn(probes, path) ? probes[path] : undefined;
    if (request.method !== "GET" && request.method !== "HEAD") answer(405, "only GET\n");
    else if (probe === undefined) answer(404, `no such probe; there are ${Object.keys(probes).join(", ")}\n`);
    else
      void holds(probe).then((ok) => {
        answer(ok ? 200 : 503, String(ok));
      });
  });
}
