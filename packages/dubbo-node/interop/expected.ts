import type { Setting, Side } from "./providers.ts";
import { summary } from "./report.ts";

/** Expected results of scenarios. Only the listed properties are compared. */
type Expected = Readonly<Record<string, object>>;

const TEN = Array.from({ length: 10 }, (_, index) => `service mesh--${index}`);
const THREE = ["request 0", "request 1", "request 2"];
const BIG = Array.from({ length: 8000 }, (_, index) => index).join("");

function ok(reply: unknown, attachments: object = {}): object {
  return { outcome: "ok", reply, attachments };
}

function error(code: string, message: string, attachments: object = {}): object {
  return { outcome: "error", code, message, attachments };
}

function greeting(name = "service mesh"): object {
  const source = "provider: ADDRESS, client: 127.0.0.1, local: the-provider, remote: the-consumer";
  return ok(`hello,${name}, response from ${source}, isProviderSide: true`);
}

function cancelled(replies: readonly string[]): object {
  return ok({ after: "true", before: "false", replies });
}

/**
 * Returns the result for a caller of another version or group. By default Dubbo falls back to an
 * existing one.
 */
function mismatched(provider: Side, strict: boolean, wanted: string): object {
  if (!strict) return greeting();
  const message = "Invoker for gRPC not found";
  return error("UNIMPLEMENTED", provider === "java" ? message : `${message}: no provider for ${wanted}`);
}

const GREETER = "org.apache.dubbo.samples.Greeter";

function routing(provider: Side, { group, strict = false }: Setting): Expected {
  const prefix = group === undefined ? "" : `${group}/`;
  const wrong = (wanted: string): object => mismatched(provider, strict, wanted);
  return {
    noVersion: wrong(`${prefix}${GREETER}`),
    wrongVersion: wrong(`${prefix}${GREETER}:2.0.0`),
    noGroup: group === undefined ? greeting() : wrong(`${GREETER}:1.0.0`),
    wrongGroup: wrong(`no-such-group/${GREETER}:1.0.0`),
    wrongVersionWithoutGroup: wrong(`${GREETER}:2.0.0`),
  };
}

// Java 3.3.6 neither reads nor sends attachments of a failure.
function failureAttachments(consumer: Side, provider: Side): object {
  return consumer === "ours" && provider === "ours" ? { str: "str", integer: "1", raw: [1, 2, 3, 4] } : {};
}

function notImplemented(provider: Side, path: string): object {
  return error("UNIMPLEMENTED", `the server does not implement the method ${path}`);
}

/**
 * Returns the results that differ between Java and this project.
 * Java 3.3.6 has a bug for unknown methods, and another status for messages that are too big.
 */
function failures(consumer: Side, provider: Side): Expected {
  const java = provider === "java";
  const tooBig = java
    ? error("UNKNOWN", "Response Entity Too Large")
    : error("RESOURCE_EXHAUSTED", "the message has 9437189 bytes, the maximum is 8388608 bytes");
  const missing = 'Cannot invoke "java.util.List.iterator()" because "methodDescriptors" is null';
  const prefix = java ? "NOT_FOUND : " : "";
  return {
    greetException: error("UNKNOWN", "Biz Exception", failureAttachments(consumer, provider)),
    deadline: { outcome: "error", code: "DEADLINE_EXCEEDED", attachments: {} },
    unknownMethod: java ? error("UNKNOWN", missing) : notImplemented(provider, `/${GREETER}/noSuchMethod`),
    unknownService: java
      ? error("UNIMPLEMENTED", "Invoker for gRPC not found")
      : notImplemented(provider, "/org.apache.dubbo.samples.Nowhere/greet"),
    tooBigMessage:
      consumer === "java"
        ? tooBig
        : error("RESOURCE_EXHAUSTED", "the message to send has 9437189 bytes, the maximum is 8388608 bytes"),
    healthOfUnknown: error("NOT_FOUND", `${prefix}unknown service org.apache.dubbo.samples.Nowhere`),
  };
}

/**
 * Returns the expected results of all scenarios. Only those from the functions above depend on
 * provider, consumer or setting.
 */
export function expected(consumer: Side, provider: Side, setting: Setting): Expected {
  return {
    greet: greeting(),
    greetUnicode: greeting("grüß dich, 世界 🚀"),
    greetEmpty: greeting(""),
    UpperCaseGreet: ok("SERVICE MESH"),
    queryCancelResult: ok("false"),
    greetWithAttachment: ok("hello,service mesh", { "user-attachment": "hello,me" }),
    attachmentInLatin1: ok("hello,service mesh", { "user-attachment": "hello,  café " }),
    // The provider echoes `user-attachment`. This key arrives with capital letters, so nothing is
    // echoed.
    attachmentWithUpperCaseKey: ok("hello,service mesh", { "user-attachment": "hello,null" }),
    attachmentAbsent: ok("hello,service mesh", { "user-attachment": "hello,null" }),
    greetReturnBigAttachment: ok("hello,service mesh", { "user-attachment": summary(BIG) }),
    greetStream: ok(["request 0 1", "request 1 2", "request 2 3"]),
    greetServerStream: ok(TEN),
    compressorBiStream: ok(THREE),
    clientCompressorBiStream: ok(THREE),
    serverCompressorBiStream: ok(THREE),
    cancelBiStream: cancelled(THREE),
    cancelBiStream2: cancelled(THREE),
    cancelServerStream: cancelled(TEN),
    ...failures(consumer, provider),
    ...routing(provider, setting),
    bigMessage: ok(summary("X".repeat(4 * 1024 * 1024))),
    greetAfterTooBig: greeting(),
    healthOfServer: ok("SERVING"),
    healthOfService: ok("SERVING"),
    healthOfServiceAndVersion:
      setting.group === undefined ? ok("SERVING") : error("NOT_FOUND", expectedUnknown(provider)),
    healthWatch: ok("SERVING"),
  };
}

function expectedUnknown(provider: Side): string {
  return `${provider === "java" ? "NOT_FOUND : " : ""}unknown service ${GREETER}:1.0.0`;
}
