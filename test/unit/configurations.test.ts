import { expect, test, vi } from "vitest";
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
