import * as z from "zod";
import { Greeter } from "../gen/greeter_pb.ts";
import { DubboApplication } from "../sdk/application.ts";
import { logger } from "../sdk/logger.ts";
import { drainOnSignals, run } from "../sdk/run.ts";
import { dubboService } from "../sdk/service.ts";
import { applicationSettings, readSettings } from "../sdk/settings.ts";
import { greeter, hostAddress } from "./greeter.ts";

/** Version of the interface. Source: the seed's `@DubboService`. */
const INTERFACE_VERSION = "1.0.0";

const settingsSchema = applicationSettings(50_052).extend({
  /** Version of the provider, which its replies name unless it is v1. */
  DUBBO_APPLICATION_VERSION: z.string().min(1, "must not be empty").default("v1"),
});

await run(async () => {
  const settings = readSettings(settingsSchema, process.env);
  const log = logger("samples.ProviderBootstrap");
  const port = settings.DUBBO_PROTOCOL_PORT;
  const handlers = greeter({
    application: settings.DUBBO_APPLICATION_NAME,
    version: settings.DUBBO_APPLICATION_VERSION,
    address: `${hostAddress()}:${port}`,
    log: logger("impl.GreeterImpl"),
  });
  const application = new DubboApplication({
    services: [dubboService(Greeter, handlers, INTERFACE_VERSION)],
    port,
    qosPort: settings.DUBBO_APPLICATION_QOS_PORT,
    shutdownWait: settings.DUBBO_SERVICE_SHUTDOWN_WAIT,
    log,
  });
  drainOnSignals(() => application.drain(), log);
  await application.start();
  log.info("dubbo service started");
});
