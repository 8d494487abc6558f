package mesh.dubbo.interop;

import io.grpc.health.v1.Health;
import io.grpc.health.v1.HealthCheckRequest;
import io.grpc.health.v1.HealthCheckResponse;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.function.BiConsumer;
import java.util.function.Function;
import org.apache.dubbo.common.stream.StreamObserver;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.protocol.tri.ClientStreamObserver;
import org.apache.dubbo.samples.Greeter;
import org.apache.dubbo.samples.GreeterReply;
import org.apache.dubbo.samples.GreeterRequest;

/** Scenarios of the consumer, by name, in their order. */
final class Scenarios {

    private static final String NAME = "service mesh";
    private static final String ATTACHMENT = "user-attachment";
    private static final int MEBIBYTE = 1 << 20;
    private static final int STREAMED = 3;
    private static final long CANCEL_WAIT_MS = 5000;
    private static final long CANCEL_POLL_MS = 50;

    private final Peer peer;
    private final String version;
    private final String group;
    private final Map<String, Callable<Object>> all = new LinkedHashMap<>();

    Scenarios(Peer peer, String version, String group) {
        this.peer = peer;
        this.version = version;
        this.group = group;
        addUnary();
        addAttachments();
        addStreams();
        addCancelling();
        addFailures();
        addRouting();
        addBig();
        addHealth();
    }

    Map<String, Callable<Object>> all() {
        return all;
    }

    private void addUnary() {
        all.put("greet", () -> greeter().greet(request(NAME)).getMessage());
        all.put("greetUnicode", () -> greeter().greet(request("grüß dich, 世界 \uD83D\uDE80")).getMessage());
        all.put("greetEmpty", () -> greeter().greet(request("")).getMessage());
        all.put("UpperCaseGreet", () -> greeter().upperCaseGreet(request(NAME)).getMessage());
        all.put("queryCancelResult", () -> cancelResult("nothing"));
    }

    private void addAttachments() {
        all.put("greetWithAttachment", () -> {
            RpcContext.getClientAttachment()
                    .setObjectAttachment(ATTACHMENT, "me")
                    .setObjectAttachment("Mixed-Case", "Value")
                    .setObjectAttachment("raw", new byte[] {1, 2, 3, 4, (byte) 0xff});
            return greeter().greetWithAttachment(request(NAME)).getMessage();
        });
        all.put("attachmentInLatin1", () -> {
            RpcContext.getClientAttachment().setAttachment(ATTACHMENT, "  caf\u00e9 ");
            return greeter().greetWithAttachment(request(NAME)).getMessage();
        });
        all.put("attachmentWithUpperCaseKey", () -> {
            RpcContext.getClientAttachment().setAttachment("User-Attachment", "upper");
            return greeter().greetWithAttachment(request(NAME)).getMessage();
        });
        all.put("attachmentAbsent", () -> greeter().greetWithAttachment(request(NAME)).getMessage());
        all.put("greetReturnBigAttachment", () -> greeter().greetReturnBigAttachment(request(NAME)).getMessage());
    }

    private void addStreams() {
        all.put("greetStream", () -> stream(greeter()::greetStream, false));
        all.put("greetServerStream", () -> serverStream(greeter()::greetServerStream).rest().stream()
                .map(GreeterReply::getMessage)
                .toList());
        all.put("compressorBiStream", () -> stream(greeter()::compressorBiStream, true));
        all.put("clientCompressorBiStream", () -> stream(greeter()::clientCompressorBiStream, true));
        all.put("serverCompressorBiStream", () -> stream(greeter()::serverCompressorBiStream, false));
    }

    private void addCancelling() {
        all.put("cancelBiStream", () -> cancelBi("cancelBiStream", greeter()::cancelBiStream));
        all.put("cancelBiStream2", () -> cancelBi("cancelBiStream2", greeter()::cancelBiStream2));
        all.put("cancelServerStream", () -> {
            String before = cancelResult("cancelServerStream");
            Replies<GreeterReply> replies = serverStream(greeter()::cancelServerStream);
            return cancel("cancelServerStream", before, replies, replies.next(10));
        });
    }

    private void addFailures() {
        all.put("greetException", () -> greeter().greetException(request(NAME)).getMessage());
        all.put("deadline", () -> {
            RpcContext.getClientAttachment().setObjectAttachment("timeout", 500);
            return ghost(Greeter.SERVICE_NAME).cancelServerStream(request(NAME)).getMessage();
        });
        all.put("unknownMethod", () -> ghost(Greeter.SERVICE_NAME).noSuchMethod(request(NAME)).getMessage());
        all.put("unknownService", () -> ghost("org.apache.dubbo.samples.Nowhere").greet(request(NAME)).getMessage());
    }

    private void addRouting() {
        all.put("noVersion", () -> greet(null, group));
        all.put("wrongVersion", () -> greet("2.0.0", group));
        all.put("noGroup", () -> greet(version, null));
        all.put("wrongGroup", () -> greet(version, "no-such-group"));
        all.put("wrongVersionWithoutGroup", () -> greet("2.0.0", null));
    }

    private void addBig() {
        all.put("bigMessage", () -> upperCase(4 * MEBIBYTE));
        all.put("tooBigMessage", () -> upperCase(9 * MEBIBYTE));
        all.put("greetAfterTooBig", () -> greeter().greet(request(NAME)).getMessage());
    }

    private void addHealth() {
        all.put("healthOfServer", () -> health(""));
        all.put("healthOfService", () -> health(Greeter.SERVICE_NAME));
        all.put("healthOfServiceAndVersion", () -> health(Greeter.SERVICE_NAME + ":" + version));
        all.put("healthOfUnknown", () -> health("org.apache.dubbo.samples.Nowhere"));
        all.put("healthWatch", () -> {
            Replies<HealthCheckResponse> statuses = new Replies<>();
            peer.health().watch(healthRequest(Greeter.SERVICE_NAME), statuses);
            HealthCheckResponse first = statuses.next(1).get(0);
            statuses.cancel(new IllegalStateException("seen enough"));
            return first.getStatus().name();
        });
    }

    private Greeter greeter() {
        return peer.greeter(version, group);
    }

    private Ghost ghost(String service) {
        return peer.ghost(service, version, group);
    }

    private String greet(String version, String group) {
        return peer.greeter(version, group).greet(request(NAME)).getMessage();
    }

    private String upperCase(int length) {
        return greeter().upperCaseGreet(request("x".repeat(length))).getMessage();
    }

    private String cancelResult(String method) {
        return greeter().queryCancelResult(request(method)).getMessage();
    }

    private String health(String service) {
        Health health = peer.health();
        return health.check(healthRequest(service)).getStatus().name();
    }

    private Object cancelBi(
            String method, Function<StreamObserver<GreeterReply>, StreamObserver<GreeterRequest>> call) throws Exception {
        String before = cancelResult(method);
        Replies<GreeterReply> replies = new Replies<>();
        send(call.apply(replies));
        return cancel(method, before, replies, replies.next(STREAMED));
    }

    private Object cancel(String method, String before, Replies<GreeterReply> replies, List<GreeterReply> seen)
            throws Exception {
        replies.cancel(new IllegalStateException("enough"));
        long end = System.currentTimeMillis() + CANCEL_WAIT_MS;
        String after = cancelResult(method);
        while (!after.equals("true") && System.currentTimeMillis() < end) {
            Thread.sleep(CANCEL_POLL_MS);
            after = cancelResult(method);
        }
        return new TreeMap<>(Map.of(
                "replies", seen.stream().map(GreeterReply::getMessage).toList(), "before", before, "after", after));
    }

    private static Object stream(
            Function<StreamObserver<GreeterReply>, StreamObserver<GreeterRequest>> call, boolean compressed)
            throws Exception {
        Replies<GreeterReply> replies = new Replies<>();
        StreamObserver<GreeterRequest> requests = call.apply(replies);
        if (compressed) {
            ((ClientStreamObserver<GreeterRequest>) requests).setCompression("gzip");
        }
        send(requests);
        requests.onCompleted();
        return replies.rest().stream().map(GreeterReply::getMessage).toList();
    }

    private static void send(StreamObserver<GreeterRequest> requests) {
        for (int i = 0; i < STREAMED; i++) {
            requests.onNext(request("request " + i));
        }
    }

    private static Replies<GreeterReply> serverStream(BiConsumer<GreeterRequest, StreamObserver<GreeterReply>> call) {
        Replies<GreeterReply> replies = new Replies<>();
        call.accept(request(NAME), replies);
        return replies;
    }

    private static GreeterRequest request(String name) {
        return GreeterRequest.newBuilder().setName(name).build();
    }

    private static HealthCheckRequest healthRequest(String service) {
        return HealthCheckRequest.newBuilder().setService(service).build();
    }
}
