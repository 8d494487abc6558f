import { Greeter } from "../gen/greeter_pb.ts";
import { applicationSettings, DubboApplication, milliseconds, referenceSettings, run } from "dubbo-node";
import { callForever } from "./caller.ts";

// Port, provider and version come from the sample.
const settingsSchema = applicationSettings({ port: 20_880 })
  .extend(
    referenceSettings({ services: [Greeter], providedBy: "dubbo-samples-mesh-provider", version: "1.0.0" })
      .shape,
  )
  .extend({
    /** Time between the starts of two calls, milliseconds. */
    "dubbo.consumer.interval": milliseconds(1).default(1000),
  });

await run(settingsSchema, ({ settings, log }) => {
  const action = log("action.GreetingServiceConsumer");
  const application = new DubboApplication({ settings, log: action });
  const greeter = application.reference(Greeter, settings);
  const interval = settings["dubbo.consumer.interval"];
  return {
    application,
    log: action,
    started: "dubbo consumer started",
    work: (signal) => callForever({ greeter, interval, log: action, signal }),
  };
});
