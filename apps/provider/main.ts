import { Greeter } from "../gen/greeter_pb.ts";
import { applicationSettings, DubboApplication, run } from "dubbo-node";
import { greeter, hostAddress } from "./greeter.ts";

// Port and version come from the sample.
const settingsSchema = applicationSettings({ port: 50_052, version: "1.0.0" });

await run(settingsSchema, ({ settings, log }) => {
  const bootstrap = log("samples.ProviderBootstrap");
  const application = new DubboApplication({ settings, log: bootstrap });
  application.export(
    Greeter,
    greeter({
      application: settings["dubbo.application.name"],
      version: settings["dubbo.application.version"],
      address: `${hostAddress()}:${settings["dubbo.protocol.port"]}`,
      log: log("impl.GreeterImpl"),
    }),
  );
  return { application, log: bootstrap, started: "dubbo service started" };
});
