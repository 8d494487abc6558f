import { isDuration, type Key, type Schema } from "../keys.ts";
import { PRESETS } from "../../settings/presets.ts";
import { seconds } from "../../settings/duration.ts";

/** Texts that at least one key accepts: a name, an image, a gRPC service. */
const SAMPLES = ["explained", "registry.test/explained:v1", "org.example.Explained"];

function numbers({ minimum, maximum }: Schema, current: unknown): number[] {
  if (typeof current !== "number") return [Math.max(minimum ?? 1, 1), 7];
  return [current + 1, current - 1, current * 2].filter(
    (value) => value >= (minimum ?? value) && value <= (maximum ?? value),
  );
}

function durations(current: unknown): string[] {
  if (typeof current !== "string") return ["7s", "60s"];
  const [double, half] = [seconds(current) * 2, Math.round(seconds(current) * 500) / 1000];
  return [`${double}s`, `${half}s`, `${double + 1}s`].filter((value) => value !== "0s");
}

/** Returns other texts of the same kind: double the amount, or the text with a suffix. */
function texts(current: unknown): string[] {
  if (typeof current !== "string") return SAMPLES;
  const amount = /^(\d+)(\D*)$/.exec(current);
  if (amount !== null) return [`${Number(amount[1]) * 2}${amount[2] ?? ""}`];
  return [`${current}-x`, `${current}x`, ...SAMPLES];
}

function ofSchema(schema: Schema, current: unknown): unknown[] {
  const { anyOf, enum: choices, type } = schema;
  if (anyOf !== undefined) return anyOf.flatMap((choice) => choice.enum ?? []);
  if (choices !== undefined) return choices;
  if (type === "boolean") return [true, false];
  if (type === "integer") return numbers(schema, current);
  if (type === "array") {
    const list = Array.isArray(current) ? (current as unknown[]) : [];
    const longer = SAMPLES.map((sample) => [...list, sample]);
    return list.length === 0 ? longer : [...longer, list.slice(0, -1)];
  }
  if (isDuration(schema)) return durations(current);
  return typeof current === "number" ? numbers(schema, current) : texts(current);
}

/**
 * Returns other values that a key may accept, the likeliest first. Only a trial shows if a value is
 * valid.
 */
export function candidates({ path, schema }: Key, current: unknown): unknown[] {
  const values = path === "services[].app" ? [...PRESETS.keys()] : ofSchema(schema, current);
  return values.filter((value) => JSON.stringify(value) !== JSON.stringify(current));
}
