package mesh.dubbo.interop;

import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Base64;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.Callable;
import java.util.stream.Stream;
import org.apache.dubbo.rpc.RpcContext;
import org.apache.dubbo.rpc.RpcException;
import org.apache.dubbo.rpc.StatusRpcException;
import org.apache.dubbo.rpc.TriRpcStatus;

/** Result of one scenario, as the fields of a JSON object. */
final class Report {

    private static final int LONGEST_TEXT = 2048;

    private Report() {}

    /** Runs the scenario in this thread, which keeps its response attachments. */
    static Map<String, Object> of(String scenario, Callable<Object> body) {
        Map<String, Object> report = new LinkedHashMap<>();
        report.put("scenario", scenario);
        try {
            Object reply = body.call();
            report.put("outcome", "ok");
            report.put("reply", readable(reply));
        } catch (Exception e) {
            report.putAll(failure(e));
        }
        report.put("attachments", attachments());
        return report;
    }

    /** Returns the fields that describe a failure. */
    static Map<String, Object> failure(Throwable thrown) {
        String[] lines = message(thrown).split("\n");
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("outcome", "error");
        fields.put("type", thrown.getClass().getName());
        fields.put("code", code(thrown));
        fields.put("message", readable(lines[0]));
        fields.put("stackLines", lines.length - 1);
        return fields;
    }

    private static String message(Throwable thrown) {
        StatusRpcException status = find(thrown, StatusRpcException.class);
        return String.valueOf(status == null ? thrown.getMessage() : status.getStatus().description);
    }

    private static String code(Throwable thrown) {
        StatusRpcException status = find(thrown, StatusRpcException.class);
        if (status != null) {
            return status.getStatus().code.name();
        }
        RpcException rpc = find(thrown, RpcException.class);
        return rpc == null ? null : TriRpcStatus.dubboCodeToTriCode(rpc.getCode()).name();
    }

    private static <T> T find(Throwable thrown, Class<T> type) {
        return Stream.iterate(thrown, error -> error != null, Throwable::getCause)
                .filter(type::isInstance)
                .map(type::cast)
                .findFirst()
                .orElse(null);
    }

    private static Map<String, Object> attachments() {
        Map<String, Object> readable = new TreeMap<>();
        RpcContext.getClientResponseContext()
                .getObjectAttachments()
                .forEach((key, value) -> readable.put(key, readable(value)));
        return readable;
    }

    private static Object readable(Object value) {
        if (value instanceof byte[] bytes) {
            return "base64:" + Base64.getEncoder().encodeToString(bytes);
        }
        if (value instanceof String text && text.length() > LONGEST_TEXT) {
            return new TreeMap<>(Map.of("length", text.length(), "sha256", sha256(text)));
        }
        return value;
    }

    private static String sha256(String text) {
        try {
            byte[] digest = MessageDigest.getInstance("SHA-256").digest(text.getBytes(StandardCharsets.UTF_8));
            return HexFormat.of().formatHex(digest);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }
}
