import { z } from "zod";

/**
 * A duration as Envoy and Istio write it: decimal seconds with an `s`, for example `5s` or `0.25s`.
 * Envoy counts whole milliseconds. Source: https://protobuf.dev/programming-guides/json/
 */
export const duration = z.string().regex(/^(0|[1-9]\d{0,8})(\.\d{1,3})?s$/, {
  error: "must be a duration in seconds such as 5s or 0.25s",
  abort: true,
});

/** A duration above 0 s. */
export const positiveDuration = duration.refine((value) => seconds(value) > 0, "must be longer than 0s");

/** The seconds of a duration such as `0.25s`. */
export function seconds(value: string): number {
  return Number(value.slice(0, -1));
}

/** Seconds in milliseconds, as whole as Envoy and Dubbo count them. */
export function inMilliseconds(plain: number): number {
  return Math.round(plain * 1000);
}

/** The milliseconds of a duration. */
export function milliseconds(value: string): number {
  return inMilliseconds(seconds(value));
}
