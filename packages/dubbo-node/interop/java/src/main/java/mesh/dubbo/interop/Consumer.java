package mesh.dubbo.interop;

import java.io.PrintStream;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import org.apache.dubbo.common.utils.JsonUtils;

/**
 * Runs every scenario against a provider, and prints one JSON object per line for each. Everything
 * else goes to standard error.
 *
 * <p>Options: `--address` (tri://host:port), `--version`, `--group`, `--timeout` (of a unary call,
 * ms), `--name` (of the application) and `--only` (name of one scenario).
 */
public final class Consumer {

    private static final long SCENARIO_SECONDS = 10;

    private Consumer() {}

    public static void main(String[] arguments) {
        PrintStream out = System.out;
        System.setOut(System.err);
        System.setProperty("dubbo.application.logger", "slf4j");
        Options options = new Options(arguments);
        String only = options.text("only", null);
        scenarios(options).all().forEach((name, body) -> {
            if (only == null || only.equals(name)) {
                out.println(JsonUtils.toJson(run(name, body)));
            }
        });
        System.exit(0);
    }

    private static Scenarios scenarios(Options options) {
        Peer peer = new Peer(
                options.text("name", "java-consumer"),
                options.text("address", "tri://127.0.0.1:50052"),
                options.number("timeout", 3000));
        return new Scenarios(peer, options.text("version", null), options.text("group", null));
    }

    private static Map<String, Object> run(String name, Callable<Object> body) {
        FutureTask<Map<String, Object>> task = new FutureTask<>(() -> Report.of(name, body));
        Thread thread = new Thread(task, name);
        thread.setDaemon(true);
        thread.start();
        try {
            return task.get(SCENARIO_SECONDS, TimeUnit.SECONDS);
        } catch (Exception e) {
            Map<String, Object> report = new LinkedHashMap<>();
            report.put("scenario", name);
            report.putAll(Report.failure(e));
            return report;
        }
    }
}
