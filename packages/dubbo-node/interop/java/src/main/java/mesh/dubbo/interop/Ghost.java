package mesh.dubbo.interop;

import org.apache.dubbo.samples.GreeterReply;
import org.apache.dubbo.samples.GreeterRequest;

/**
 * Calls that the generated stub lacks, for any path. Dubbo treats this interface as a service of
 * protobuf classes.
 */
public interface Ghost {

    /** An existing method, on a path that may be missing. */
    GreeterReply greet(GreeterRequest request);

    /** A method that the Greeter lacks. */
    GreeterReply noSuchMethod(GreeterRequest request);

    /** The endless server stream, called like a unary method. Only the deadline ends it. */
    GreeterReply cancelServerStream(GreeterRequest request);
}
