package mesh.dubbo.interop;

import com.google.protobuf.TextFormat;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.apache.dubbo.common.stream.StreamObserver;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.RpcServiceContext;
import org.apache.dubbo.rpc.TriRpcStatus;
import org.apache.dubbo.rpc.protocol.tri.ServerStreamObserver;
import org.apache.dubbo.samples.DubboGreeterTriple;
import org.apache.dubbo.samples.GreeterReply;
import org.apache.dubbo.samples.GreeterRequest;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Answers like the provider of the mesh sample. */
public final class GreeterImpl extends DubboGreeterTriple.GreeterImplBase {

    private static final Logger LOG = LoggerFactory.getLogger(GreeterImpl.class);
    private static final TextFormat.Printer PRINTER =
            TextFormat.printer().escapingNonAscii(false);
    private static final String ATTACHMENT = "user-attachment";
    /** While this file exists, greet fails, but the health service still answers SERVING. */
    private static final Path FAILING = Path.of("/dev/shm/failing");
    private static final int REPLIES = 10;
    private static final int NUMBERS = 8000;

    private final Set<String> cancelled = ConcurrentHashMap.newKeySet();
    private final boolean quiet;
    private final long delay;

    /** With `quiet`, greet logs nothing; it answers after `delay` ms. */
    public GreeterImpl(boolean quiet, long delay) {
        this.quiet = quiet;
        this.delay = delay;
    }

    @Override
    public GreeterReply greet(GreeterRequest request) {
        if (!quiet) {
            LOG.info("Server test dubbo tri k8s received greet request {}", PRINTER.printToString(request).strip());
        }
        if (Files.exists(FAILING)) {
            throw TriRpcStatus.UNAVAILABLE.withDescription("as asked for").asException();
        }
        pause();
        RpcServiceContext context = RpcContext.getServiceContext();
        return reply("hello," + request.getName()
                + ", response from provider-v1: " + context.getLocalAddressString()
                + ", client: " + context.getRemoteHost()
                + ", local: " + context.getUrl().getApplication()
                + ", remote: " + context.getRemoteApplicationName()
                + ", isProviderSide: " + context.isProviderSide());
    }

    @Override
    public StreamObserver<GreeterRequest> greetStream(StreamObserver<GreeterReply> replies) {
        int[] count = {0};
        return new Answering(replies, name -> name + " " + ++count[0], true);
    }

    @Override
    public void greetServerStream(GreeterRequest request, StreamObserver<GreeterReply> replies) {
        sendNumbered(request, replies);
        replies.onCompleted();
    }

    @Override
    public GreeterReply upperCaseGreet(GreeterRequest request) {
        return reply(request.getName().toUpperCase(Locale.ROOT));
    }

    @Override
    public GreeterReply greetWithAttachment(GreeterRequest request) {
        String received = RpcContext.getServerAttachment().getAttachment(ATTACHMENT);
        RpcContext.getServerResponseContext().setObjectAttachment(ATTACHMENT, "hello," + received);
        return reply("hello," + request.getName());
    }

    @Override
    public GreeterReply greetReturnBigAttachment(GreeterRequest request) {
        String numbers = IntStream.range(0, NUMBERS).mapToObj(Integer::toString).collect(Collectors.joining());
        RpcContext.getServerResponseContext().setObjectAttachment(ATTACHMENT, numbers);
        return reply("hello," + request.getName());
    }

    @Override
    public GreeterReply greetException(GreeterRequest request) {
        RpcContext.getServerResponseContext()
                .setObjectAttachment("str", "str")
                .setObjectAttachment("integer", 1)
                .setObjectAttachment("raw", new byte[] {1, 2, 3, 4});
        throw new RuntimeException("Biz Exception");
    }

    @Override
    public StreamObserver<GreeterRequest> cancelBiStream(StreamObserver<GreeterReply> replies) {
        rememberCancelling("cancelBiStream");
        return new Answering(replies, UnaryOperator.identity(), false);
    }

    @Override
    public StreamObserver<GreeterRequest> cancelBiStream2(StreamObserver<GreeterReply> replies) {
        rememberCancelling("cancelBiStream2");
        return new Answering(replies, UnaryOperator.identity(), false);
    }

    @Override
    public StreamObserver<GreeterRequest> compressorBiStream(StreamObserver<GreeterReply> replies) {
        return echo(compressed(replies));
    }

    @Override
    public StreamObserver<GreeterRequest> clientCompressorBiStream(StreamObserver<GreeterReply> replies) {
        return echo(replies);
    }

    @Override
    public StreamObserver<GreeterRequest> serverCompressorBiStream(StreamObserver<GreeterReply> replies) {
        return echo(compressed(replies));
    }

    @Override
    public void cancelServerStream(GreeterRequest request, StreamObserver<GreeterReply> replies) {
        rememberCancelling("cancelServerStream");
        sendNumbered(request, replies);
    }

    @Override
    public GreeterReply queryCancelResult(GreeterRequest request) {
        return reply(String.valueOf(cancelled.contains(request.getName())));
    }

    private void rememberCancelling(String method) {
        RpcContext.getCancellationContext().addListener(context -> cancelled.add(method));
    }

    private void pause() {
        if (delay > 0) {
            try {
                Thread.sleep(delay);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private static void sendNumbered(GreeterRequest request, StreamObserver<GreeterReply> replies) {
        IntStream.range(0, REPLIES).forEach(i -> replies.onNext(reply(request.getName() + "--" + i)));
    }

    private static StreamObserver<GreeterRequest> echo(StreamObserver<GreeterReply> replies) {
        return new Answering(replies, UnaryOperator.identity(), true);
    }

    private static StreamObserver<GreeterReply> compressed(StreamObserver<GreeterReply> replies) {
        ((ServerStreamObserver<GreeterReply>) replies).setCompression("gzip");
        return replies;
    }

    private static GreeterReply reply(String message) {
        return GreeterReply.newBuilder().setMessage(message).build();
    }

    /**
     * Answers each request with one reply that contains its name. With `completes`, completes after
     * the client.
     */
    private record Answering(StreamObserver<GreeterReply> replies, UnaryOperator<String> message, boolean completes)
            implements StreamObserver<GreeterRequest> {

        @Override
        public void onNext(GreeterRequest request) {
            replies.onNext(reply(message.apply(request.getName())));
        }

        @Override
        public void onError(Throwable error) {
            replies.onError(new IllegalStateException("Stream err"));
        }

        @Override
        public void onCompleted() {
            if (completes) {
                replies.onCompleted();
            }
        }
    }
}
