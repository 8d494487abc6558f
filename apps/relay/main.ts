// An example of a new service, which needs a proto, handlers and settings. Each call to it makes a
// call to the provider.
import { Greeter } from "../gen/greeter_pb.ts";
import { Relay } from "../gen/relay_pb.ts";
import { applicationSettings, DubboApplication, referenceSettings, run } from "dubbo-node";

const settingsSchema = applicationSettings({ port: 50_053 }).extend(
  referenceSettings({ services: [Greeter], providedBy: "dubbo-samples-mesh-provider", version: "1.0.0" })
    .shape,
);

await run(settingsSchema, ({ settings, log }) => {
  const bootstrap = log("samples.RelayBootstrap");
  const application = new DubboApplication({ settings, log: bootstrap });
  const greeter = application.reference(Greeter, settings);
  application.export(Relay, {
    async relay({ name }) {
      const { message } = await greeter.call.greet({ name });
      return { message, via: settings["dubbo.application.name"] };
    },
  });
  return { application, log: bootstrap, started: "dubbo relay started" };
});
