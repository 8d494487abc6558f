import { Metadata, status } from "@grpc/grpc-js";
import { type Attachment, type Attachments, RpcError } from "./error.ts";

/** Attachments to send. Numbers and booleans are sent as text. */
export type AttachmentsInit =
  | ReadonlyMap<string, Attachment | number | boolean>
  | Readonly<Record<string, Attachment | number | boolean>>;

/** Header with the interface version that the caller wants. */
export const VERSION_HEADER = "tri-service-version";
/** Header with the interface group that the caller wants. */
export const GROUP_HEADER = "tri-service-group";
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
  "tri-service-timeout",
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
]);

/** Returns the value of a header as text; undefined if it is missing or empty. */
export function header(metadata: Metadata, name: string): string | undefined {
  const value = metadata.get(name)[0]?.toString();
  return value === "" ? undefined : value;
}

/**
 * Returns the keys as the Java peer spells them, by their lower-case form. Invalid entries are left
 * out.
 */
function spelling(metadata: Metadata): ReadonlyMap<string, string> {
  const converted = header(metadata, CONVERT_HEADER);
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
export function attachmentsOf(metadata: Metadata): Attachments {
  const spelt = spelling(metadata);
  const attachments = new Map<string, Attachment>();
  for (const name of Object.keys(metadata.getMap())) {
    const [value] = metadata.get(name);
    if (RESERVED.has(name) || value === undefined) continue;
    const key = name.endsWith(BINARY_SUFFIX) ? name.slice(0, -BINARY_SUFFIX.length) : name;
    attachments.set(spelt.get(key) ?? key, value);
  }
  return attachments;
}

function refused(key: string, reason: string, cause?: unknown): RpcError {
  return new RpcError(status.INTERNAL, `attachment ${JSON.stringify(key)} cannot be sent: ${reason}`, {
    cause,
  });
}

function put(metadata: Metadata, key: string, value: Attachment | number | boolean): void {
  const name = key.toLowerCase();
  if (RESERVED.has(name)) throw refused(key, "the name is reserved by gRPC, HTTP or Dubbo");
  try {
    if (value instanceof Uint8Array) metadata.set(`${name}${BINARY_SUFFIX}`, Buffer.from(value));
    else metadata.set(name, String(value));
  } catch (error) {
    const reason =
      "a key may have letters, digits, dashes, dots and underscores; text must be printable ASCII, so send other values as bytes";
    throw refused(key, reason, error);
  }
}

/**
 * Adds attachments to the headers or trailers of a call, as a Java peer does.
 * Keys travel in lower case, and a header restores their spelling. Bytes travel under a name that
 * ends in `-bin`.
 * @throws RpcError INTERNAL if a key is reserved, or a header cannot carry a key or a text
 */
export function putAttachments(metadata: Metadata, attachments: AttachmentsInit): void {
  const entries = [...(attachments instanceof Map ? attachments.entries() : Object.entries(attachments))] as [
    string,
    Attachment | number | boolean,
  ][];
  for (const [key, value] of entries) put(metadata, key, value);
  const spelt = entries.flatMap(([key]) =>
    key === key.toLowerCase() ? [] : [[key.toLowerCase(), key] as const],
  );
  if (spelt.length > 0) {
    metadata.set(CONVERT_HEADER, encodeURIComponent(JSON.stringify(Object.fromEntries(spelt))));
  }
}
