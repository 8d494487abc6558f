package mesh.dubbo.interop;

import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.IntStream;
import org.apache.dubbo.rpc.protocol.tri.CancelableStreamObserver;

/** Replies of a stream. */
final class Replies<T> extends CancelableStreamObserver<T> {

    private static final long WAIT_SECONDS = 5;

    private final BlockingQueue<T> received = new LinkedBlockingQueue<>();
    private final CompletableFuture<Void> end = new CompletableFuture<>();

    @Override
    public void onNext(T reply) {
        received.add(reply);
    }

    @Override
    public void onError(Throwable error) {
        end.completeExceptionally(error);
    }

    @Override
    public void onCompleted() {
        end.complete(null);
    }

    /** Returns the next `count` replies. */
    List<T> next(int count) {
        return IntStream.range(0, count).mapToObj(i -> next()).toList();
    }

    /** Waits for the successful end of the stream, and returns the remaining replies. */
    List<T> rest() throws Exception {
        end.get(WAIT_SECONDS, TimeUnit.SECONDS);
        return List.copyOf(received);
    }

    private T next() {
        try {
            T reply = received.poll(WAIT_SECONDS, TimeUnit.SECONDS);
            if (reply == null) {
                end.getNow(null);
                throw new IllegalStateException(new TimeoutException("no reply within " + WAIT_SECONDS + " s"));
            }
            return reply;
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }
}
