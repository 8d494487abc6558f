import { type Attachment, type Attachments, RpcError } from "./error.ts";
import type { HeaderFields, Headers } from "./headers.ts";
import { status } from "./status.ts";

/** Attachments to send. Numbers and booleans are sent as text. */
export type AttachmentsInit =
  | ReadonlyMap<string, Attachment | number | boolean>
  | Readonly<Record<string, Attachment | number | boolean>>;

/** Header with the interface version that the caller wants. */
export const VERSION_HEADER = "tri-service-version";
/** Header with the interface group that the caller wants. */
export const GROUP_HEADER = "tri-service-group";
/** Header with the timeout of a call in JSON, ms. */
export const TIMEOUT_HEADER = "tri-service-timeout";
/** Header with the caller's application name. */
export const CONSUMER_HEADER = "tri-consumer-appname";
/**
 * Header with the original spelling of the keys, which travel in lower case. The value is
 * percent-encoded JSON.
 */
const CONVERT_HEADER = "tri-header-convert";
const BINARY_SUFFIX = "-bin";

/**
 * Headers that are not attachments: those of gRPC and HTTP, and those that Dubbo hides from
 * applications.
 * Source: Dubbo 3.3, TripleHeaderEnum.
 */
const RESERVED = new Set([
  "content-type",
  "te",
  "user-agent",
  "host",
  "date",
  "server",
  "accept-encoding",
  "http-status",
  "grpc-status",
  "grpc-message",
  "grpc-status-details-bin",
  "grpc-timeout",
  "grpc-encoding",
  "grpc-accept-encoding",
  CONSUMER_HEADER,
  VERSION_HEADER,
  GROUP_HEADER,
  TIMEOUT_HEADER,
  CONVERT_HEADER,
  "tri-exception-code",
  "group",
  "interface",
  "path",
  "remote.application",
  "application",
  "serialization",
  "rest-service-version",
  "rest-service-group",
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "trailer",
  "upgrade",
  "http2-settings",
  "expect",
  "content-length",
  "content-encoding",
]);

/** Most bytes of all attachments. Node.js sends at most 64 KiB of headers. */
const MOST_BYTES = 60_000;
/** Bytes of a header besides its name and value. Source: RFC 9113, 6.5.2. */
const FIELD_BYTES = 32;
/** Text that a header carries: Latin-1 without control characters, except the tab. */
const CARRIED_TEXT = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Name of a header. Source: gRPC over HTTP/2, Custom-Metadata. */
const CARRIED_NAME = /^[0-9a-z_.-]+$/;

/** Returns the original spelling of each key, by the key in lower case. Ignores invalid entries. */
function spelling(headers: Headers): ReadonlyMap<string, string> {
  const converted = headers.get(CONVERT_HEADER);
  if (converted === undefined) return new Map();
  try {
    const parsed = JSON.parse(decodeURIComponent(converted)) as unknown;
    if (typeof parsed !== "object" || parsed === null) return new Map();
    return new Map(
      Object.entries(parsed).filter((entry): entry is [string, string] => typeof entry[1] === "string"),
    );
  } catch {
    return new Map();
  }
}

/** Returns the attachments in the headers or trailers of a call. */
export function attachmentsOf(headers: Headers): Attachments {
  const spelt = spelling(headers);
  const attachments = new Map<string, Attachment>();
  for (const [name, value] of headers.entries()) {
    if (RESERVED.has(name)) continue;
    const binary = name.endsWith(BINARY_SUFFIX);
    const key = binary ? name.slice(0, -BINARY_SUFFIX.length) : name;
    attachments.set(spelt.get(key) ?? key, binary ? Buffer.from(value, "base64") : value);
  }
  return attachments;
}

function refused(key: string, reason: string): RpcError {
  return new RpcError(status.INTERNAL, `attachment ${JSON.stringify(key)} cannot be sent: ${reason}`);
}

function put(fields: HeaderFields, key: string, value: Attachment | number | boolean): void {
  const name = key.toLowerCase();
  if (RESERVED.has(name)) throw refused(key, "the name is reserved by gRPC, HTTP or Dubbo");
  if (!CARRIED_NAME.test(name))
    throw refused(key, "a key may have letters, digits, dashes, dots and underscores");
  if (value instanceof Uint8Array) {
    fields[`${name}${BINARY_SUFFIX}`] = Buffer.from(value).toString("base64");
    return;
  }
  const text = String(value);
  if (!CARRIED_TEXT.test(text)) throw refused(key, "text must be Latin-1, so send other values as bytes");
  fields[name] = text;
}

/**
 * Adds attachments to the headers or trailers of a call, as a Java peer does.
 * Keys travel in lower case, and a header restores their spelling. Bytes travel under a name that
 * ends in `-bin`.
 * @throws RpcError INTERNAL if a key is reserved, a header cannot carry a key or a text, or they
 *   are too large
 */
export function putAttachments(fields: HeaderFields, attachments: AttachmentsInit): void {
  const entries = [...(attachments instanceof Map ? attachments.entries() : Object.entries(attachments))] as [
    string,
    Attachment | number | boolean,
  ][];
  for (const [key, value] of entries) put(fields, key, value);
  const spelt = entries.flatMap(([key]) =>
    key === key.toLowerCase() ? [] : [[key.toLowerCase(), key] as const],
  );
  if (spelt.length > 0) {
    fields[CONVERT_HEADER] = encodeURIComponent(JSON.stringify(Object.fromEntries(spelt)));
  }
  let bytes = 0;
  for (const [name, value] of Object.entries(fields)) {
    bytes += name.length + String(value).length + FIELD_BYTES;
    if (bytes > MOST_BYTES) throw refused(name, `all attachments together may have ${MOST_BYTES} bytes`);
  }
}
