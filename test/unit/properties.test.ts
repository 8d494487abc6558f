import { describe, expect, it } from "vitest";
import { javaToolOptions } from "../../components/runtime.ts";
import { variableOf } from "../../apps/sdk/names.ts";
import { systemProperty } from "../../lib/properties.ts";

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

describe("what the JVM is told", () => {
  it("is memory, home and the properties, in their order", () => {
    expect(javaToolOptions({ "dubbo.b.c": 8, "dubbo.a": "x y" })).toBe(
      '-XX:MaxRAMPercentage=50 -Duser.home=/tmp -Ddubbo.b.c=8 -Ddubbo.a="x y"',
    );
  });
});
