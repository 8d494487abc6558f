import type { Scenario } from "../target.ts";
import { calls } from "./calls.ts";
import { drops } from "./drops.ts";
import { garbage } from "./garbage.ts";
import { headers } from "./headers.ts";
import { json } from "./json.ts";
import { messages } from "./messages.ts";
import { readers } from "./readers.ts";
import { streams } from "./streams.ts";

/** All scenarios, in the order in which they run. */
export const scenarios: readonly Scenario[] = [
  streams,
  messages,
  readers,
  garbage,
  headers,
  calls,
  drops,
  json,
];
