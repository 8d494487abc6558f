import { Greeter } from "../gen/greeter_pb.ts";
import { DubboApplication } from "../sdk/application.ts";
import { logger } from "../sdk/logger.ts";
import { DubboReference } from "../sdk/reference.ts";
import { drainOnSignals, run } from "../sdk/run.ts";
import { applicationSettings, dnsName, milliseconds, port, readSettings } from "../sdk/settings.ts";
import { callForever } from "./caller.ts";

const settingsSchema = applicationSettings(20_880).extend({
  /** Deadline of a call, milliseconds. */
  DUBBO_CONSUMER_TIMEOUT: milliseconds(1).default(30_000),
  /** Time from one call's start to the next, milliseconds. */
  DUBBO_CONSUMER_INTERVAL: milliseconds(1).default(1000),
  /** Dubbo application name of the provider, which is the name of its Service as well. */
  DUBBO_REFERENCE_PROVIDED_BY: dnsName.default("dubbo-samples-mesh-provider"),
  /** Triple port of the provider. */
  DUBBO_REFERENCE_PROVIDER_PORT: port.default(50_052),
  /** Namespace of the provider's Service. */
  POD_NAMESPACE: dnsName.default("default"),
  /** DNS suffix of the cluster's Services. */
  CLUSTER_DOMAIN: dnsName.default("cluster.local"),
});

await run(async () => {
  const settings = readSettings(settingsSchema, process.env);
  const log = logger("action.GreetingServiceConsumer");
  const host = `${settings.DUBBO_REFERENCE_PROVIDED_BY}.${settings.POD_NAMESPACE}.svc.${settings.CLUSTER_DOMAIN}`;
  const greeter = new DubboReference({
    service: Greeter,
    version: "1.0.0",
    target: `${host}:${settings.DUBBO_REFERENCE_PROVIDER_PORT}`,
    consumer: settings.DUBBO_APPLICATION_NAME,
    timeout: settings.DUBBO_CONSUMER_TIMEOUT,
    log,
  });
  const application = new DubboApplication({
    services: [],
    port: settings.DUBBO_PROTOCOL_PORT,
    qosPort: settings.DUBBO_APPLICATION_QOS_PORT,
    shutdownWait: settings.DUBBO_SERVICE_SHUTDOWN_WAIT,
    log,
  });
  const stop = new AbortController();
  let calls = Promise.resolve();
  drainOnSignals(() => {
    stop.abort();
    return application.drain(calls);
  }, log);
  await application.start();
  log.info("dubbo consumer started");
  calls = callForever({
    greeter,
    interval: settings.DUBBO_CONSUMER_INTERVAL,
    log,
    signal: stop.signal,
  }).finally(() => {
    greeter.close();
  });
  await calls;
});
