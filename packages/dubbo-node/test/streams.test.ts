import { channel } from "node:diagnostics_channel";
import { EventEmitter } from "node:events";
import { setImmediate as turn } from "node:timers/promises";
import { expect, test } from "vitest";
import { releaseClosedStreams } from "../src/streams.ts";

const CLOSED = "http2.server.stream.close";

test("removes all listeners but those for errors from a closed stream", async () => {
  releaseClosedStreams();
  const stream = new EventEmitter();
  const heard: string[] = [];
  stream.on("close", () => heard.push("close")).on("data", () => heard.push("data"));
  channel(CLOSED).publish({ stream });
  stream.emit("close");
  await turn();
  stream.emit("data");
  stream.emit("error", new Error("too late"));
  expect(heard).toEqual(["close"]);
  expect(stream.eventNames()).toEqual(["error"]);
});
