package mesh.dubbo.interop;

import org.apache.dubbo.samples.GreeterReply;
import org.apache.dubbo.samples.GreeterRequest;

/** Calls that the generated stub does not offer, for any path: Dubbo takes it for a service defined by protobuf classes. */
public interface Ghost {

    /** A method that exists, on a path that need not. */
    GreeterReply greet(GreeterRequest request);

    /** A method that no Greeter has. */
    GreeterReply noSuchMethod(GreeterRequest request);

    /** The server's stream that never ends, called as if it were unary: it ends by the deadline only. */
    GreeterReply cancelServerStream(GreeterRequest request);
}
