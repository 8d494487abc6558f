import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { UserError } from "../../common/errors.ts";
import { parseSettings } from "../../settings/settings.ts";
import { sensible } from "../configurations/arbitrary.ts";
import { asText } from "../configurations/spoil.ts";
import { tryConfigurations } from "../configurations/suite.ts";

// The bundles do not affect the configuration, and building them takes longer than everything else.
vi.mock(import("../../apps/bundle.ts"), () => ({
  bundleApplication: () =>
    Promise.resolve({ context: "apps/dist/x", dockerfile: "apps/Dockerfile", tag: "0" }),
}));

test(
  "of 500 random configurations, what is accepted gives valid objects, and what is refused names a key",
  { timeout: 180_000 },
  async () => {
    // The program warns about plaintext health checks.
    vi.spyOn(console, "warn").mockReturnValue(undefined);
    const { accepted, refused, meant, meantAccepted } = await tryConfigurations({ runs: 500, kept: 20 });
    expect(accepted + refused).toBe(500);
    expect(refused).toBeGreaterThan(100);
    expect(meantAccepted).toBeGreaterThan(meant / 3);
  },
);

/** Errors that random configurations must include. */
const REFUSED = [
  /resources\.requests\.(cpu|memory): is \S+, more than the default limit/,
  /resources\.limits\.(cpu|memory): is \S+, less than the default request/,
  /resources\.requests\.(cpu|memory): is \S+, more than limits\./,
  /proxy\.requests\.(cpu|memory): is \S+, more than limits\./,
  /namespace: is default/,
  /namespace: is kube-system/,
  /namespace: is istio-system/,
  /codec_client_type: must be HTTP2/,
  /http_health_check: is no gRPC/,
  /name: makes a TLS server name of/,
];

test("random configurations include those that pass every type, and yet cannot run", () => {
  const errors = fc.sample(sensible, { numRuns: 1500, seed: 1 }).flatMap((given) => {
    try {
      parseSettings(asText(given));
      return [];
    } catch (error) {
      return error instanceof UserError ? [error.message] : [];
    }
  });
  const missing = REFUSED.filter((pattern) => !errors.some((message) => pattern.test(message)));
  expect(missing).toEqual([]);
});
