// A provider that does with a call what the greeted name asks for, and logs every try that arrives.
import { setTimeout as sleep } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { applicationSettings, type Call, DubboApplication, type Logger, RpcError, run } from "dubbo-node";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { greeter, hostAddress } from "../../../apps/provider/greeter.ts";

/** Replies of a slow stream, and the time before each, ms: longer in all than every timeout of the test. */
const SLOW_REPLIES = 12;
const SLOW_MS = 500;

function cancelled({ signal }: Call): Promise<never> {
  return new Promise((_resolve, reject) => {
    const cancel = (): void => {
      reject(new RpcError(status.CANCELLED, "cancelled"));
    };
    if (signal.aborted) cancel();
    else signal.addEventListener("abort", cancel, { once: true });
  });
}

/** Whether all that is unary fails: SIGUSR2 turns it on, and off again. */
let failing = false;
process.on("SIGUSR2", () => {
  failing = !failing;
});

/** `abort-X` fails, `hang-X` answers never, all else at once. */
function unary(
  method: string,
  log: Logger,
): (request: { name: string }, call: Call) => Promise<{ message: string }> {
  return async ({ name }, call) => {
    log.info(`arrived ${method} ${name}`);
    if (failing || name.startsWith("abort-")) throw new RpcError(status.UNAVAILABLE, "as asked for");
    if (name.startsWith("hang-")) await cancelled(call);
    return { message: name };
  };
}

async function* slowly({ name }: { name: string }, log: Logger): AsyncGenerator<{ message: string }> {
  log.info(`arrived greetServerStream ${name}`);
  if (name.startsWith("abort-")) throw new RpcError(status.UNAVAILABLE, "as asked for");
  for (let index = 0; index < SLOW_REPLIES; index += 1) {
    await sleep(SLOW_MS);
    yield { message: `${name}--${index}` };
  }
}

await run(applicationSettings({ port: 50_052, version: "1.0.0" }), ({ settings, log }) => {
  const bootstrap = log("e2e.Faulty");
  const application = new DubboApplication({ settings, log: bootstrap });
  const { "dubbo.application.name": name, "dubbo.application.version": version } = settings;
  const tries = log("e2e.Tries");
  application.export(Greeter, {
    ...greeter({ application: name, version, address: hostAddress(), log: log("impl.GreeterImpl") }),
    greet: unary("greet", tries),
    upperCaseGreet: unary("UpperCaseGreet", tries),
    greetServerStream: (request) => slowly(request, tries),
  });
  return { application, log: bootstrap, started: "dubbo service started" };
});
