import { execa } from "execa";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { expected } from "./expected.ts";
import { buildJavaPeer, javaCommand } from "./java-peer.ts";
import { type RunningProvider, type Setting, type Side, startProvider } from "./providers.ts";
import { comparable, report, type Report } from "./report.ts";
import { Scenarios } from "./scenarios.ts";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { unary } from "../test/support.ts";

/** https://github.com/fullstorydev/grpcurl/releases */
const GRPCURL = "v1.9.4";

// The first build downloads Dubbo. Each test starts and stops a Java process.
vi.setConfig({ testTimeout: 2 * 60_000, hookTimeout: 10 * 60_000 });

async function javaConsumer(port: number, group: string | undefined): Promise<Report[]> {
  const args = ["--address", `tri://127.0.0.1:${port}`, "--version", "1.0.0", "--name", "the-consumer"];
  const [command, ...rest] = javaCommand(
    "Consumer",
    group === undefined ? args : [...args, "--group", group],
  );
  const { stdout } = await execa(command, rest, { stderr: "ignore" });
  return stdout.split("\n").map((line) => report.parse(JSON.parse(line)));
}

const CONSUMERS: Record<Side, (port: number, group: string | undefined) => Promise<Report[]>> = {
  java: javaConsumer,
  ours: (port, group) => new Scenarios(port, group).run(),
};

const SETTINGS: Setting[] = [{}, { group: "g" }, { strict: true }, { group: "g", strict: true }];

const CASES = SETTINGS.flatMap((setting) =>
  (["java", "ours"] as const).flatMap((provider) =>
    (["java", "ours"] as const).map((consumer) => [consumer, provider, setting] as const),
  ),
);

let running: RunningProvider | undefined;

beforeAll(buildJavaPeer);

afterEach(async () => {
  await running?.stop();
  running = undefined;
});

const GREETER = "org.apache.dubbo.samples.Greeter";

/** gRPC's command-line client. */
async function grpcurl(...args: string[]): Promise<string> {
  const program = `github.com/fullstorydev/grpcurl/cmd/grpcurl@${GRPCURL}`;
  const { stdout } = await execa("go", ["run", program, "-plaintext", ...args]);
  return stdout;
}

describe("a method by its name with a capital first letter", () => {
  it.each(["java", "ours"] as const)("is served, provider %s", async (provider) => {
    running = await startProvider(provider, {});
    const capital = { ...Greeter.method.greet, name: "Greet" };
    expect((await unary(running.port, capital, { name: "Go" })).message).toMatch(
      /^hello,Go, response from provider/,
    );
  });
});

describe("reflection", () => {
  it("lets grpcurl list, describe and call", async () => {
    running = await startProvider("ours", { reflection: true });
    const address = `127.0.0.1:${running.port}`;
    expect(await grpcurl(address, "list")).toContain(`\n${GREETER}`);
    expect(await grpcurl(address, "describe", `${GREETER}.greet`)).toBe(
      `${GREETER}.greet is a method:\nrpc greet ( .${GREETER}Request ) returns ( .${GREETER}Reply );`,
    );
    expect(JSON.parse(await grpcurl("-d", '{"name":"you"}', address, `${GREETER}/UpperCaseGreet`))).toEqual({
      message: "YOU",
    });
  });
});

describe("Triple between this project and Dubbo 3.3 for Java", () => {
  it.each(CASES)("consumer %s, provider %s, %j", async (consumer, provider, setting) => {
    running = await startProvider(provider, setting);
    const reports = await CONSUMERS[consumer](running.port, setting.group);
    const seen = Object.fromEntries(reports.map((each) => [each.scenario, comparable(each)]));
    expect(seen).toEqual(expected(consumer, provider, setting));
  });
});
