package mesh.dubbo.interop;

import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ConsumerConfig;
import org.apache.dubbo.config.ProtocolConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.samples.Greeter;
import org.apache.dubbo.samples.GreeterReply;
import org.apache.dubbo.samples.GreeterRequest;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Calls `greet` at an interval in Dubbo's mesh mode, and `greetWithAttachment` after the first
 * call. Dubbo completes the name of the Kubernetes service `--provided-by` with POD_NAMESPACE and
 * CLUSTER_DOMAIN.
 *
 * <p>Further options: `--provider-port`, `--version`, `--name` (of the application), `--port`,
 * `--qos-port`, `--timeout` and `--interval` (ms).
 */
public final class MeshConsumer {

    static {
        System.setProperty("org.slf4j.simpleLogger.logFile", "System.out");
        System.setProperty("dubbo.application.logger", "slf4j");
    }

    private static final Logger LOG = LoggerFactory.getLogger(MeshConsumer.class);

    private static final String ATTACHMENT = "user-attachment";

    private MeshConsumer() {}

    public static void main(String[] arguments) throws InterruptedException {
        Options options = new Options(arguments);
        ReferenceConfig<Greeter> reference = reference(options);
        DubboBootstrap.getInstance()
                .application(application(options))
                .registry(new RegistryConfig(RegistryConfig.NO_AVAILABLE))
                .protocol(new ProtocolConfig("tri", options.number("port", 20880)))
                .consumer(consumer(options))
                .reference(reference)
                .start();
        for (int call = 1; ; call++) {
            greet(reference.get(), call);
            Thread.sleep(options.number("interval", 1000));
        }
    }

    private static ApplicationConfig application(Options options) {
        ApplicationConfig application = new ApplicationConfig(options.text("name", "java-consumer"));
        application.setQosEnable(true);
        application.setQosPort(options.number("qos-port", 22222));
        application.setQosAcceptForeignIp(true);
        return application;
    }

    private static ConsumerConfig consumer(Options options) {
        ConsumerConfig consumer = new ConsumerConfig();
        consumer.setMeshEnable(true);
        consumer.setTimeout(options.number("timeout", 30000));
        return consumer;
    }

    private static ReferenceConfig<Greeter> reference(Options options) {
        ReferenceConfig<Greeter> reference = new ReferenceConfig<>();
        reference.setInterface(Greeter.class);
        reference.setVersion(options.text("version", "1.0.0"));
        reference.setProvidedBy(options.text("provided-by", "dubbo-samples-mesh-provider"));
        reference.setProviderPort(options.number("provider-port", 50052));
        reference.setLazy(true);
        return reference;
    }

    private static void greetWithAttachment(Greeter greeter) {
        RpcContext.getClientAttachment().setAttachment(ATTACHMENT, "caf\u00e9");
        greeter.greetWithAttachment(GreeterRequest.getDefaultInstance());
        Object reply = RpcContext.getClientResponseContext().getObjectAttachment(ATTACHMENT);
        LOG.info("attachment in Latin-1 came back: {}", "hello,caf\u00e9".equals(reply));
    }

    private static void greet(Greeter greeter, int call) {
        try {
            GreeterReply reply = greeter.greet(
                    GreeterRequest.newBuilder().setName("service mesh").build());
            LOG.info("consumer Unary reply <-message: \"{}\"", reply.getMessage());
            System.out.println("==================== dubbo invoke " + call + " end ====================");
            if (call == 1) {
                greetWithAttachment(greeter);
            }
        } catch (RuntimeException e) {
            LOG.error("dubbo invoke {} failed: {}", call, e.toString());
        }
    }
}
