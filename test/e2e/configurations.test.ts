import { expect, test, vi } from "vitest";
import { tryConfigurations } from "../configurations/suite.ts";

// What the applications' images are made of is no matter of the configuration, and takes longer than all else.
vi.mock(import("../../apps/bundle.ts"), () => ({
  bundleApplication: () => ({ context: "apps/dist/x", dockerfile: "apps/Dockerfile", tag: "0" }),
}));

test("of 10,000 random configurations, what is accepted gives valid objects, and what is refused names a key", async () => {
  // The program warns of checks that go out in plaintext.
  vi.spyOn(console, "warn").mockReturnValue(undefined);
  const { accepted, refused } = await tryConfigurations({ runs: 10_000, kept: 0 });
  expect(accepted + refused).toBe(10_000);
  expect(refused).toBeGreaterThan(2000);
});
