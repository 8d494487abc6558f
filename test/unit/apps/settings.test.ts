import { expect, test } from "vitest";
import { applicationSettings, dnsName, readSettings, SettingsError } from "../../../apps/sdk/settings.ts";

const schema = applicationSettings(50_052).extend({ POD_NAMESPACE: dnsName.default("default") });

function problem(environment: Record<string, string>): string {
  try {
    readSettings(schema, environment);
  } catch (error) {
    expect(error).toBeInstanceOf(SettingsError);
    return (error as Error).message;
  }
  return "none";
}

test("what is not set has Dubbo's default, and other variables are ignored", () => {
  expect(readSettings(schema, { DUBBO_APPLICATION_NAME: "a", HOME: "/" })).toEqual({
    DUBBO_APPLICATION_NAME: "a",
    DUBBO_PROTOCOL_PORT: 50_052,
    DUBBO_APPLICATION_QOS_PORT: 22_222,
    DUBBO_SERVICE_SHUTDOWN_WAIT: 10_000,
    POD_NAMESPACE: "default",
  });
});

test("values are read as numbers, up to the last that is allowed", () => {
  const environment = {
    DUBBO_APPLICATION_NAME: "a",
    DUBBO_PROTOCOL_PORT: "1",
    DUBBO_APPLICATION_QOS_PORT: "65535",
    DUBBO_SERVICE_SHUTDOWN_WAIT: "86400000",
    POD_NAMESPACE: "team-7.x",
  };
  expect(readSettings(schema, environment)).toEqual({
    DUBBO_APPLICATION_NAME: "a",
    DUBBO_PROTOCOL_PORT: 1,
    DUBBO_APPLICATION_QOS_PORT: 65_535,
    DUBBO_SERVICE_SHUTDOWN_WAIT: 86_400_000,
    POD_NAMESPACE: "team-7.x",
  });
});

test.each([
  ["DUBBO_PROTOCOL_PORT", "0", "must be a whole number from 1 to 65535"],
  ["DUBBO_PROTOCOL_PORT", "65536", "must be a whole number from 1 to 65535"],
  ["DUBBO_PROTOCOL_PORT", "50052x", "must be a whole number from 1 to 65535"],
  ["DUBBO_PROTOCOL_PORT", "1e3", "must be a whole number from 1 to 65535"],
  ["DUBBO_PROTOCOL_PORT", "", "must be a whole number from 1 to 65535"],
  ["DUBBO_SERVICE_SHUTDOWN_WAIT", "86400001", "must be a whole number from 0 to 86400000"],
  ["DUBBO_SERVICE_SHUTDOWN_WAIT", "1.5", "must be a whole number from 0 to 86400000"],
  ["DUBBO_APPLICATION_NAME", "two words", "must be 1 to 200 visible ASCII characters without spaces"],
  ["POD_NAMESPACE", "Team", "must be a DNS name: lower-case letters, digits, dashes and dots"],
])("%s=%j is refused", (name, value, reason) => {
  expect(problem({ DUBBO_APPLICATION_NAME: "a", [name]: value })).toBe(
    `${name} is ${JSON.stringify(value)}: ${reason}`,
  );
});

test("every wrong variable is named at once", () => {
  expect(problem({ DUBBO_PROTOCOL_PORT: "-1" })).toBe(
    'DUBBO_APPLICATION_NAME is not set; DUBBO_PROTOCOL_PORT is "-1": must be a whole number from 1 to 65535',
  );
});
