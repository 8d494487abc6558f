import { Metadata, status } from "@grpc/grpc-js";
import { type Attachment, type Attachments, RpcError } from "./error.ts";

/** Attachments to send. Numbers and booleans become text. */
export type AttachmentsInit =
  | ReadonlyMap<string, Attachment | number | boolean>
  | Readonly<Record<string, Attachment | number | boolean>>;

/** Header with the version of the interface that the caller wants. */
export const VERSION_HEADER = "tri-service-version";
/** Header with the group of the interface that the caller wants. */
export const GROUP_HEADER = "tri-service-group";
/** Header with the caller's application name. */
export const CONSUMER_HEADER = "tri-consumer-appname";
/** Header by which a Java peer says how the keys were spelt that it has sent in lower case: JSON, percent-encoded. */
const CONVERT_HEADER = "tri-header-convert";
const BINARY_SUFFIX = "-bin";

/**
 * Headers that are no attachments: gRPC's and HTTP's, and those of Dubbo's own that it does not show to applications.
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

/** A header's value as text; undefined where it is missing or empty. */
export function header(metadata: Metadata, name: string): string | undefined {
  const value = metadata.get(name)[0]?.toString();
  return value === "" ? undefined : value;
}

/** The keys as a Java peer has spelt them, by their lower-case form. What is not understood is left out. */
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

/** The attachments in a call's headers or trailers. */
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
  if (RESERVED.has(name)) throw refused(key, "the name has a meaning of its own");
  try {
    if (value instanceof Uint8Array) metadata.set(`${name}${BINARY_SUFFIX}`, Buffer.from(value));
    else metadata.set(name, String(value));
  } catch (error) {
    const reason =
      "a key is letters, digits, dash, dot and underscore, and text is visible ASCII; send anything else as bytes";
    throw refused(key, reason, error);
  }
}

/**
 * Adds attachments to a call's headers or trailers as a Java peer does: keys in lower case, with a header that restores their spelling, and
 * bytes under a name that ends in `-bin`.
 * @throws RpcError INTERNAL where a key or a text cannot travel in a header
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
