// A provider that fails as the greeted name or the variable FAULT says, and logs every try.
import { setTimeout as sleep } from "node:timers/promises";
import {
  applicationSettings,
  type Call,
  DubboApplication,
  type Logger,
  RpcError,
  run,
  status,
} from "dubbo-node";
import { Greeter } from "../../../apps/gen/greeter_pb.ts";
import { greeter, hostAddress } from "../../../apps/provider/greeter.ts";

/**
 * Number of replies of a slow stream, and the time before each, ms. The stream takes longer than
 * every timeout of the test.
 */
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

/** Makes all unary calls fail. SIGUSR2 switches it on and off. */
let failing = false;
process.on("SIGUSR2", () => {
  failing = !failing;
});

/** Fault of all unary calls: `errors` fails each 20th call, `slow` waits, `hang` never answers. */
const FAULT = process.env["FAULT"] ?? "";
const ERROR_EACH = 20;
const DELAY_MS = 300;

/** Returns a unary handler: `abort-X` fails, `hang-X` never answers, other names answer at once. */
function unary(
  method: string,
  log: Logger,
): (request: { name: string }, call: Call) => Promise<{ message: string }> {
  let count = 0;
  return async ({ name }, call) => {
    log.info(`arrived ${method} ${name}`);
    count += 1;
    const fails = failing || name.startsWith("abort-") || (FAULT === "errors" && count % ERROR_EACH === 0);
    if (fails) throw new RpcError(status.UNAVAILABLE, "as asked for");
    if (FAULT === "hang" || name.startsWith("hang-")) await cancelled(call);
    if (FAULT === "slow") await sleep(DELAY_MS);
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
