import services, { type ILanguageRuntimeServer } from "@pulumi/pulumi/proto/language_grpc_pb.js";
import language from "@pulumi/pulumi/proto/language_pb.js";
import plugin from "@pulumi/pulumi/proto/plugin_pb.js";
import sdk from "@pulumi/pulumi/version.js";
import { cancellationOf, failure, listen, unary } from "./grpc.ts";

type PluginResponse = InstanceType<typeof language.RunPluginResponse>;

/**
 * Returns the methods for preview, up, refresh, destroy, about and policy packs. Each command of
 * the CLI first starts a host that it only asks `about`, so the rest is loaded when it is needed.
 * Source: pulumi's pkg/cmd/pulumi/metadata/metadata.go
 */
function methods(engine: string, programs: AbortController) {
  return {
    getPluginInfo: unary(() => new plugin.PluginInfo().setVersion(sdk.version)),
    // The plugins are in PULUMI_HOME, so the engine has none to download.
    getRequiredPackages: unary(() => new language.GetRequiredPackagesResponse()),
    about: unary(() =>
      new language.AboutResponse().setExecutable(process.execPath).setVersion(process.version),
    ),
    run: unary(async (request, cancelled) => {
      const { run } = await import("./programs.ts");
      return run(request, engine, AbortSignal.any([cancelled, programs.signal]));
    }),
    runPlugin: (call) => {
      const send = (response: PluginResponse) => {
        if (!call.cancelled) call.write(response);
      };
      const running = async () => {
        const { runPlugin } = await import("./programs.ts");
        await runPlugin(call.request, cancellationOf(call), send);
      };
      running().then(
        () => call.end(),
        (error: unknown) => call.emit("error", failure(error)),
      );
    },
    cancel: unary(() => {
      programs.abort();
      return services.LanguageRuntimeService.cancel.responseDeserialize(Buffer.alloc(0));
    }),
  } satisfies Partial<ILanguageRuntimeServer>;
}

/**
 * Serves Pulumi's LanguageRuntime for Node.js programs and prints its port. It ends with the
 * engine, and stops the running programs.
 * @param engine address of the engine
 */
export function serve(engine: string): void {
  const programs = new AbortController();
  listen(services.LanguageRuntimeService, methods(engine, programs), () => {
    programs.abort();
  });
}
