import type * as http from "node:http";
import { createRequire } from "node:module";

/**
 * `createServer` of node:http. It uses require, because an import evaluates all exports of
 * node:http. The WebSocket export loads undici, which takes 3 MB of resident memory.
 */
export const { createServer } = createRequire(import.meta.url)("node:http") as typeof http;

/** Options of an HTTP/2 connection, on either side. */
export const SESSION_OPTIONS = {
  /** Most header fields of a call. The default, 128, is less than what Java accepts. */
  maxHeaderListPairs: 1000,
  /** No limit, because the payload limits each message, and a connection carries several. */
  maxSessionMemory: Number.MAX_SAFE_INTEGER,
  /** Keeps spaces around a value, as Java does. Otherwise Node.js drops the field. */
  strictFieldWhitespaceValidation: false,
} as const;
