import { z } from "zod";

const FORM = "must be a duration in seconds such as 5s or 0.25s";

/**
 * Duration in Envoy's and Istio's form: decimal seconds with an `s`, such as `5s` or `0.25s`.
 * The resolution is 1 ms. Source: https://protobuf.dev/programming-guides/json/
 */
export const duration = z.string(FORM).regex(/^(0|[1-9]\d{0,8})(\.\d{1,3})?s$/, { error: FORM, abort: true });

/** Duration longer than 0 s. */
export const positiveDuration = duration.refine((value) => seconds(value) > 0, "must be longer than 0s");

/** Converts a duration such as `0.25s` to seconds. */
export function seconds(value: string): number {
  return Number(value.slice(0, -1));
}

/** Converts seconds to whole milliseconds, the resolution of Envoy and Dubbo. */
export function inMilliseconds(plain: number): number {
  return Math.round(plain * 1000);
}

/** Converts a duration to milliseconds. */
export function milliseconds(value: string): number {
  return inMilliseconds(seconds(value));
}
