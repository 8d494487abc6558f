import { describe, expect, it } from "vitest";
import { parseAccessLog } from "../../../tools/verify/access-log.ts";
import { recording } from "./recorded.ts";

const HOST = "dubbo-samples-mesh-provider.dubbo-demo.svc.cluster.local";
const INBOUND_CHECK =
  '[2026-11-23T21:38:52.561Z] "POST /grpc.health.v1.Health/Check HTTP/2" 200 - via_upstream - "-" 39 7 2 1 "-" "Envoy/HC" ' +
  `"e4501c74-9483-4e07-8868-da360c38a8ed" "${HOST}" "10.211.0.7:50052" inbound|50052|| 127.0.0.6:38292 10.211.0.7:50052 ` +
  `10.211.0.6:43572 outbound_.50052_.v1_.${HOST} default`;
const OUTBOUND_GREET =
  '[2026-11-23T21:39:06.228Z] "POST /org.apache.dubbo.samples.Greeter/greet HTTP/2" 200 - via_upstream - "-" 19 182 2 2 "-" ' +
  `"grpc-node-js/1.14.7" "872009ba-202f-4663-9528-1a93653a0e21" "${HOST}:50052" "10.211.0.7:50052" ` +
  `outbound|50052|v1|${HOST} 10.211.0.6:48950 10.212.216.102:50052 10.211.0.6:54196 - idempotent`;
// Line from chapter 4.2 of the sample's guide, joined.
const SEED_CHECK =
  '[2022-07-08T09:03:34.152Z] "POST /grpc.health.v1.Health/Check HTTP/2" 200 - via_upstream - "-" 5 7 5 5 "-" "Envoy/HC" ' +
  `"b33a9988-2c15-99b0-be0c-e085b64d77fa" "${HOST}" "172.17.0.7:50052" inbound|50052|| 127.0.0.6:44823 172.17.0.7:50052 ` +
  "172.17.0.8:53858 - default";

describe("the access log", () => {
  it("of a provider names the check and the server name it asked for", () => {
    expect(parseAccessLog(INBOUND_CHECK)).toEqual([
      {
        text: INBOUND_CHECK,
        path: "/grpc.health.v1.Health/Check",
        status: 200,
        flags: "-",
        userAgent: "Envoy/HC",
        cluster: "inbound|50052||",
        serverName: `outbound_.50052_.v1_.${HOST}`,
      },
    ]);
  });

  it("of a consumer names the cluster", () => {
    expect(parseAccessLog(OUTBOUND_GREET)).toEqual([
      {
        text: OUTBOUND_GREET,
        path: "/org.apache.dubbo.samples.Greeter/greet",
        status: 200,
        flags: "-",
        userAgent: "grpc-node-js/1.14.7",
        cluster: `outbound|50052|v1|${HOST}`,
        serverName: "-",
      },
    ]);
  });

  it("of the sample's guide shows a check in plaintext", () => {
    expect(parseAccessLog(SEED_CHECK)).toMatchObject([{ userAgent: "Envoy/HC", serverName: "-" }]);
  });

  it("says why Envoy cut a call short", () => {
    const cut = OUTBOUND_GREET.replace("200 - via_upstream -", "503 UH no_healthy_upstream -").replace(
      '"10.211.0.7:50052"',
      '"-"',
    );
    expect(parseAccessLog(cut)).toMatchObject([
      { status: 503, flags: "UH", cluster: `outbound|50052|v1|${HOST}` },
    ]);
  });

  it("leaves out what else a proxy logs", () => {
    const other = "2026-11-23T21:38:08.505970Z\tinfo\tEnvoy proxy is ready";
    expect(parseAccessLog(["", other, INBOUND_CHECK, ""].join("\n"))).toHaveLength(1);
  });

  it("takes every line that was recorded", () => {
    const { logs } = recording("good", "after");
    const lines = Object.values(logs).flat();
    expect(parseAccessLog(lines.join("\n")).map(({ text }) => text)).toEqual(lines);
  });
});
