import { z } from "zod";
import { APPLICATION_CONTAINER, GREETER } from "../../settings/names.ts";
import { PROVIDER, type Scene } from "./scene.ts";

/** Schema of the result of a call, as the caller sees it. */
const outcome = z.strictObject({
  /** Error code of the connection or the stream, such as `ECONNRESET`. */
  error: z.string().optional(),
  /** gRPC status. */
  grpc: z.number().optional(),
  /** gRPC message. */
  message: z.string().optional(),
  /** Attachment of the reply. */
  attachment: z.string().optional(),
  /** Number of replies. */
  replies: z.number(),
  /** Duration of the call, ms. */
  ms: z.number(),
});

/** Result of a call, as the caller sees it. */
export type Outcome = z.infer<typeof outcome>;

// Makes one call over plaintext HTTP/2, like the application. The images contain Node.js only.
const SCRIPT = `
const [host, path, name, sent] = process.argv.slice(1);
const text = Buffer.from(name);
const message = Buffer.concat([Buffer.of(10, text.length), text]);
const frame = Buffer.concat([Buffer.of(0, 0, 0, 0, message.length), message]);
const start = Date.now();
const session = require("node:http2").connect("http://" + host, { strictFieldWhitespaceValidation: false });
let body = Buffer.alloc(0), status, reason, attachment, failure;
const note = (headers) => {
  attachment ??= headers["user-attachment"];
  if (headers["grpc-status"] !== undefined) status = Number(headers["grpc-status"]), reason = headers["grpc-message"];
};
const end = () => {
  let replies = 0;
  for (let at = 0; at + 5 <= body.length; at += 5 + body.readUInt32BE(at + 1)) replies += 1;
  console.log(JSON.stringify({ error: failure, grpc: status, message: reason, attachment, replies, ms: Date.now() - start }));
  process.exit(0);
};
session.on("error", (error) => { failure = error.code; end(); });
const request = session.request({
  ":method": "POST", ":path": path, "content-type": "application/grpc+proto", te: "trailers", "tri-service-version": "1.0.0",
  ...(sent && { "user-attachment": sent }),
});
request.on("response", note).on("trailers", note).on("data", (part) => { body = Buffer.concat([body, part]); });
request.on("error", (error) => { failure ??= error.code; }).on("close", () => setImmediate(end));
request.end(frame);
`;

/**
 * Calls a method of the provider from a pod.
 * @param method name of a greeter method, or the path of another method
 * @param attachment value of the attachment `user-attachment` (default: none)
 */
export async function callFrom(
  scene: Scene,
  pod: string,
  method: string,
  name: string,
  attachment = "",
): Promise<Outcome> {
  const path = method.startsWith("/") ? method : `/${GREETER}/${method}`;
  const command = ["node", "-e", SCRIPT, hostIn(scene), path, name, attachment];
  return outcome.parse(JSON.parse(await scene.mesh.exec(pod, APPLICATION_CONTAINER, command)));
}

function hostIn({ settings }: Scene): string {
  return `${PROVIDER}.${settings.namespace}.svc.cluster.local:50052`;
}

/** Schema of an answer over HTTP/1.1. */
const httpAnswer = z.strictObject({
  code: z.number(),
  body: z.string(),
  attachment: z.string().optional(),
});

// Sends one request in JSON over HTTP/1.1. The body is no text, because Node.js sends headers in
// the encoding of a text.
const JSON_SCRIPT = `
const [host, path, body, sent] = process.argv.slice(1);
const headers = { "content-type": "application/json", ...(sent && { "user-attachment": sent }) };
const request = require("node:http").request("http://" + host + path, { method: "POST", headers }, (response) => {
  const parts = [];
  response.on("data", (part) => parts.push(part)).on("end", () => {
    const { statusCode: code, headers: { "user-attachment": attachment } } = response;
    console.log(JSON.stringify({ code, body: String(Buffer.concat(parts)), attachment }));
  });
});
request.end(Buffer.from(body));
`;

/** Calls a method of the provider from a pod, in JSON over HTTP/1.1. */
export async function jsonFrom(
  scene: Scene,
  pod: string,
  method: string,
  body: string,
  attachment = "",
): Promise<z.infer<typeof httpAnswer>> {
  const command = ["node", "-e", JSON_SCRIPT, hostIn(scene), `/${GREETER}/${method}`, body, attachment];
  return httpAnswer.parse(JSON.parse(await scene.mesh.exec(pod, APPLICATION_CONTAINER, command)));
}
