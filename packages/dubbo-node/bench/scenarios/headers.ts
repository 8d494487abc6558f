import { constants } from "node:http2";
import { Connection, framed } from "../connection.ts";
import { GreeterClient, path, request } from "../greeter.ts";
import type { Scenario } from "../target.ts";

const { NGHTTP2_COMPRESSION_ERROR, NGHTTP2_ENHANCE_YOUR_CALM } = constants;

interface Case {
  readonly name: string;
  readonly headers: () => Record<string, string>;
  /** HTTP/2 code that ends the call; 0 for an answered call. */
  readonly reset: number;
}

/** Headers below nghttp2's limit of 64 kB, and headers above it in several fields. */
const CASES: readonly Case[] = [
  { name: "one of 20 kB", headers: () => ({ "x-big": "y".repeat(20_000) }), reset: 0 },
  { name: "one of 60 kB", headers: () => ({ "x-big": "y".repeat(60_000) }), reset: 0 },
  {
    name: "1,000 of 100 bytes",
    headers: () =>
      Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`x-${index}`, "y".repeat(100)])),
    reset: NGHTTP2_ENHANCE_YOUR_CALM,
  },
];

/**
 * A single field above the limit. HPACK cannot recover from it, so the connection ends. Node.js 20
 * keeps its socket (see garbage.ts).
 */
const ONE_TOO_BIG: Case = {
  name: "one of 100 kB",
  headers: () => ({ "x-big": "y".repeat(100_000) }),
  reset: NGHTTP2_COMPRESSION_ERROR,
};

async function send(port: number, { name, headers, reset }: Case): Promise<boolean> {
  const connection = await Connection.open(port);
  try {
    const answer = await connection.call(path("greet"), framed(request("big headers")), headers());
    const right = answer.reset === reset && answer.status === (reset === 0 ? 0 : undefined);
    if (!right) throw new Error(`headers, ${name}: reset ${answer.reset}, status ${String(answer.status)}`);
    if (!connection.usable) return false;
    await connection.greet("after big headers");
    return true;
  } finally {
    connection.close();
  }
}

/** Sends large headers. The server accepts up to 64 kB, ends calls with more, and goes on. */
export const headers: Scenario = {
  title: "oversized headers",
  async run({ port, nodeMajor }) {
    const client = new GreeterClient(port);
    try {
      for (const one of CASES) {
        if (!(await send(port, one))) throw new Error(`headers, ${one.name}: the connection has ended too`);
      }
      if (nodeMajor >= 22) await send(port, ONE_TOO_BIG);
      await client.greet("after big headers");
    } finally {
      client.close();
    }
    return "up to 60 kB answered, 100 kB refused (ENHANCE_YOUR_CALM, or COMPRESSION_ERROR for a single one)";
  },
};
