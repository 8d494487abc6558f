import { describe, expect, it } from "vitest";
import { variableOf } from "dubbo-node/names";
import { javaToolOptions } from "../../../settings/java.ts";
import { systemProperty } from "../../../settings/properties.ts";

describe("a Dubbo property", () => {
  it.each([
    ["dubbo.application.name", "DUBBO_APPLICATION_NAME"],
    ["dubbo.application.log-format", "DUBBO_APPLICATION_LOG_FORMAT"],
    ["dubbo.application.logFormat", "DUBBO_APPLICATION_LOG_FORMAT"],
    ["dubbo.application.qosAcceptForeignIp", "DUBBO_APPLICATION_QOS_ACCEPT_FOREIGN_IP"],
    ["dubbo.x2Y.a_b", "DUBBO_X2_Y_A_B"],
  ])("is a variable for Node.js: %s", (property, variable) => {
    expect(variableOf(property)).toBe(variable);
  });

  it.each([
    ["json", "-Ddubbo.a=json"],
    ["", "-Ddubbo.a="],
    ["a\\b$c", "-Ddubbo.a=a\\b$c"],
    ["two words", '-Ddubbo.a="two words"'],
    ["it's", `-Ddubbo.a="it's"`],
    ['say "hi" twice', `-Ddubbo.a="say "'"'"hi"'"'" twice"`],
    ['""', `-Ddubbo.a='""'`],
  ])("is an option for the JVM, quoted where it would be split: %j", (value, option) => {
    expect(systemProperty("dubbo.a", value)).toBe(option);
  });
});

describe("the JVM's options", () => {
  it("are memory, home and the properties, those of the stack first", () => {
    const application = { application: "a b", version: "v1", port: 8, finishMs: 9 };
    expect(
      javaToolOptions({ ...application, properties: { "dubbo.a": "x", "dubbo.application.name": "c" } }),
    ).toBe(
      "-XX:MaxRAMPercentage=50 -Duser.home=/tmp -Ddubbo.application.name=c -Ddubbo.application.version=v1 " +
        "-Ddubbo.application.qos-port=22222 -Ddubbo.protocol.port=8 -Ddubbo.application.qos-enable=true " +
        "-Ddubbo.application.qos-accept-foreign-ip=true -Ddubbo.tri.builtin.service.init=true " +
        "-Ddubbo.service.shutdown.wait=9 -Ddubbo.a=x",
    );
  });
});
