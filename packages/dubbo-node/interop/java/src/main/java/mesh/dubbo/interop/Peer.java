package mesh.dubbo.interop;

import io.grpc.health.v1.Health;
import java.util.HashMap;
import java.util.Map;
import org.apache.dubbo.config.ApplicationConfig;
import org.apache.dubbo.config.ReferenceConfig;
import org.apache.dubbo.config.RegistryConfig;
import org.apache.dubbo.config.bootstrap.DubboBootstrap;
import org.apache.dubbo.samples.Greeter;

/** The provider under test, as stubs that call it directly. */
final class Peer {

    private final String address;
    private final int timeout;
    private final Map<String, Object> stubs = new HashMap<>();

    Peer(String application, String address, int timeout) {
        // Dubbo replaces 127.0.0.1 with the machine's first network address, unless it is IPv6.
        this.address = address.replace("//127.0.0.1:", "//[::ffff:127.0.0.1]:");
        this.timeout = timeout;
        ApplicationConfig config = new ApplicationConfig(application);
        config.setQosEnable(false);
        DubboBootstrap.getInstance()
                .application(config)
                .registry(new RegistryConfig(RegistryConfig.NO_AVAILABLE))
                .start();
    }

    Greeter greeter(String version, String group) {
        return stub(Greeter.class, Greeter.SERVICE_NAME, version, group);
    }

    Ghost ghost(String service, String version, String group) {
        return stub(Ghost.class, service, version, group);
    }

    Health health() {
        return stub(Health.class, Health.SERVICE_NAME, null, null);
    }

    private <T> T stub(Class<T> type, String service, String version, String group) {
        return type.cast(stubs.computeIfAbsent(
                String.join("|", service, type.getName(), version, group), key -> refer(type, service, version, group)));
    }

    private <T> T refer(Class<T> type, String service, String version, String group) {
        ReferenceConfig<T> reference = new ReferenceConfig<>();
        reference.setInterface(type);
        reference.setUrl(address + "/" + service);
        reference.setVersion(version);
        reference.setGroup(group);
        reference.setTimeout(timeout);
        reference.setRetries(0);
        reference.setCheck(false);
        return reference.get();
    }
}
