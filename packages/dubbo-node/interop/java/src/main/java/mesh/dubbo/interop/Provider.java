package mesh.dubbo.interop;

import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.ServiceConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.samples.Greeter;

/**
 * Serves the Greeter over Triple, without a registry, until it is killed.
 *
 * <p>Options: `--port`, `--qos-port`, `--version`, `--group`, `--name` (of the application),
 * `--delay` (time before each reply of greet, ms) and `--quiet` (no line per greeting).
 */
public final class Provider {

    static {
        System.setProperty("org.slf4j.simpleLogger.logFile", "System.out");
        System.setProperty("dubbo.application.logger", "slf4j");
        System.setProperty("dubbo.tri.builtin.service.init", "true");
    }

    private Provider() {}

    public static void main(String[] arguments) {
        Options options = new Options(arguments);
        DubboBootstrap bootstrap = DubboBootstrap.getInstance()
                .application(application(options))
                .registry(new RegistryConfig(RegistryConfig.NO_AVAILABLE))
                .protocol(new ProtocolConfig("tri", options.number("port", 50052)))
                .service(service(options))
                .start();
        System.out.println("=============== dubbo service started ===============");
        bootstrap.await();
    }

    private static ApplicationConfig application(Options options) {
        ApplicationConfig application = new ApplicationConfig(options.text("name", "java-provider"));
        application.setQosEnable(true);
        application.setQosPort(options.number("qos-port", 22222));
        application.setQosAcceptForeignIp(true);
        return application;
    }

    private static ServiceConfig<Greeter> service(Options options) {
        ServiceConfig<Greeter> service = new ServiceConfig<>();
        service.setInterface(Greeter.class);
        service.setRef(new GreeterImpl(options.flag("quiet"), options.number("delay", 0)));
        service.setVersion(options.text("version", null));
        service.setGroup(options.text("group", null));
        return service;
    }
}
