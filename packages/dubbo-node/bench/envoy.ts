import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { CACHE_DIR } from "../../../common/artifacts/cache.ts";
import type { VirtualServiceSpec } from "../../../components/generated/istio.ts";
import { virtualServiceSpec } from "../../../components/traffic.ts";
import { drainSeconds, type HealthCheck, healthCheckSettings } from "../../../settings/health-check.ts";
import { step } from "../../../common/steps.ts";
import { parseSettings } from "../../../settings/settings.ts";
import { type Drill, drill, LEAVING, type Pair, startPair, STAYING, stopPair } from "./drill.ts";
import { GreeterClient } from "./greeter.ts";
import { freePort, ServerProcess } from "./process.ts";

const ENVOY = join(CACHE_DIR, "bin/envoy");
/** Duration of the calls before SIGTERM and after the end of the provider, ms. */
const AROUND_MS = 5000;
/** Time that a provider may need for its end after the shutdown wait, ms. */
const END_MS = 2000;
/** Time that Envoy may need to find both providers healthy, ms: one check and its jitter. */
const HEALTHY_LIMIT_MS = 20_000;

/** Result of the drill behind Envoy, or the reason for its absence. */
export type EnvoyDrill =
  | { readonly skipped: string }
  | (Drill & {
      readonly shutdownWaitMs: number;
      /** Time from SIGTERM until Envoy takes the provider out, ms. */
      readonly outAfterMs: number | undefined;
      readonly retries: number;
      readonly ok: boolean;
    });

type Retries = NonNullable<NonNullable<VirtualServiceSpec["http"]>[number]["retries"]>;

/** Returns the retries of an idempotent method, as in the stack. */
function retries(): Retries {
  const provider = parseSettings({ cluster: "local" }).services.find(({ app }) => app === "provider");
  if (provider === undefined) throw new Error("the stack has no provider");
  const { traffic, methods, routes } = provider;
  const { http } = virtualServiceSpec({ ...traffic, methods, routes, host: "provider", subsets: [] });
  const idempotent = http?.find(({ name }) => name === "idempotent");
  if (idempotent?.retries === undefined) throw new Error("the stack has no route for idempotent methods");
  return idempotent.retries;
}

/**
 * Returns the retry policy that Istio makes from the retries of a VirtualService.
 * Source: Istio, pilot/pkg/networking/core/route/retry.
 */
function retryPolicy({ attempts, retryOn, perTryTimeout }: Retries): object {
  const predicate =
    "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate";
  return {
    retry_on: retryOn,
    num_retries: attempts,
    per_try_timeout: perTryTimeout,
    retry_host_predicate: [
      { name: "envoy.retry_host_predicates.previous_hosts", typed_config: { "@type": predicate } },
    ],
    host_selection_retry_max_attempts: 5,
  };
}

function address(port: number): object {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}

const HTTP2 = {
  "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    explicit_http_config: { http2_protocol_options: {} },
  },
};

function cluster(endpoints: readonly number[], check: HealthCheck): object {
  return {
    name: "provider",
    type: "STATIC",
    lb_policy: "ROUND_ROBIN",
    connect_timeout: "10s",
    // Envoy's default of 3 concurrent retries is below the limit that Istio sets.
    circuit_breakers: { thresholds: [{ max_retries: 4_294_967_295 }] },
    typed_extension_protocol_options: HTTP2,
    health_checks: [check],
    load_assignment: {
      cluster_name: "provider",
      endpoints: [{ lb_endpoints: endpoints.map((port) => ({ endpoint: { address: address(port) } })) }],
    },
  };
}

function listener(port: number): object {
  const route = { cluster: "provider", timeout: "0s", retry_policy: retryPolicy(retries()) };
  const virtualHost = { name: "provider", domains: ["*"], routes: [{ match: { prefix: "/" }, route }] };
  const manager = {
    "@type":
      "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    stat_prefix: "calls",
    codec_type: "HTTP2",
    route_config: { virtual_hosts: [virtualHost] },
    http_filters: [
      {
        name: "envoy.filters.http.router",
        typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
      },
    ],
  };
  const filter = { name: "envoy.filters.network.http_connection_manager", typed_config: manager };
  return { name: "calls", address: address(port), filter_chains: [{ filters: [filter] }] };
}

/** A standalone Envoy in front of two providers, with health check and retries of the stack. */
class Envoy {
  readonly port: number;
  readonly #adminPort: number;
  readonly #process: ServerProcess;

  private constructor(port: number, adminPort: number, process: ServerProcess) {
    this.port = port;
    this.#adminPort = adminPort;
    this.#process = process;
  }

  static async start(endpoints: readonly number[], check: HealthCheck): Promise<Envoy> {
    const [port, adminPort] = [await freePort(), await freePort()];
    const bootstrap = {
      admin: { address: address(adminPort) },
      static_resources: { listeners: [listener(port)], clusters: [cluster(endpoints, check)] },
    };
    const flags = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "error"];
    const args = ["--config-yaml", JSON.stringify(bootstrap), ...flags];
    return new Envoy(port, adminPort, new ServerProcess({ file: ENVOY, args, env: {} }, "none"));
  }

  /** Returns a counter or gauge of the cluster; undefined while Envoy does not answer. */
  async figure(name: string): Promise<number | undefined> {
    const url = `http://127.0.0.1:${this.#adminPort}/stats?filter=^cluster.provider.${name}$`;
    const response = await fetch(url).catch(() => undefined);
    const value = /: (\d+)$/m.exec((await response?.text()) ?? "")?.[1];
    return value === undefined ? undefined : Number(value);
  }

  /** Waits until the given number of providers is healthy. */
  async untilHealthy(count: number): Promise<void> {
    const end = performance.now() + HEALTHY_LIMIT_MS;
    while ((await this.figure("membership_healthy")) !== count) {
      if (this.#process.ended) throw new Error(`Envoy has ended: ${this.#process.stderr}`);
      if (performance.now() > end)
        throw new Error(`Envoy does not find ${count} providers healthy: ${this.#process.stderr}`);
      await sleep(20);
    }
  }

  kill(): Promise<void> {
    return this.#process.kill();
  }
}

async function drillBehind(envoy: Envoy, pair: Pair, shutdownWaitMs: number): Promise<EnvoyDrill> {
  await step("Envoy finds both providers healthy", () => envoy.untilHealthy(2));
  const client = new GreeterClient(envoy.port);
  try {
    const signalled = performance.now() + AROUND_MS;
    const out = sleep(AROUND_MS)
      .then(() => envoy.untilHealthy(1))
      .then(
        () => performance.now() - signalled,
        () => undefined,
      );
    const seen = await step(`SIGTERM to one of two, ${shutdownWaitMs / 1000} s of NOT_SERVING`, () =>
      drill(pair, (name) => client.greet(name), AROUND_MS),
    );
    const { tally, exit } = seen;
    const inTime = exit.ms >= shutdownWaitMs && exit.ms <= shutdownWaitMs + END_MS;
    const shared = (tally.answered[LEAVING] ?? 0) > 0 && (tally.answered[STAYING] ?? 0) > 0;
    return {
      ...seen,
      shutdownWaitMs,
      outAfterMs: await out,
      retries: (await envoy.figure("upstream_rq_retry")) ?? 0,
      ok: tally.failures.length === 0 && exit.code === 0 && inTime && shared,
    };
  } finally {
    client.close();
  }
}

/**
 * Sends SIGTERM to one of two providers behind an Envoy with the health check of the stack.
 * Goal: no call fails, and the provider ends in time.
 */
export async function envoyDrill(node?: string): Promise<EnvoyDrill> {
  if (!existsSync(ENVOY)) return { skipped: `there is no ${ENVOY}: make cluster-up fetches it` };
  const check = healthCheckSettings.parse({});
  const shutdownWaitMs = drainSeconds(check) * 1000;
  const pair = await startPair(shutdownWaitMs, node);
  try {
    const envoy = await Envoy.start(
      pair.ports.map(({ port }) => port),
      check,
    );
    try {
      return await drillBehind(envoy, pair, shutdownWaitMs);
    } finally {
      await envoy.kill();
    }
  } finally {
    await stopPair(pair);
  }
}
