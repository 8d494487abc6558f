"""Calls the sample's Greeter with grpcio: client.py HOST:PORT

Prints one JSON line for each scenario, in the form of the Java consumer.
"""

import json
import sys
import time

import grpc
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

SERVICE = "org.apache.dubbo.samples.Greeter"
ATTACHMENT = "user-attachment"
PATIENCE_S = 5
DEADLINE_S = 0.1
REQUESTS = ["request 0", "request 1", "request 2"]
SERVING = 1


# GreeterRequest, GreeterReply and HealthCheckRequest have the encoding of StringValue: one text
# with number 1. HealthCheckResponse has that of Int32Value. So no code is generated.
def message(text):
    return StringValue(value=text).SerializeToString()


def text(reply):
    return StringValue.FromString(reply).value


def health(reply):
    return "SERVING" if Int32Value.FromString(reply).value == SERVING else "not serving"


def attachments(trailers):
    wanted = (ATTACHMENT, "str", "integer", "raw-bin")
    return {
        key: value.decode("latin-1") if isinstance(value, bytes) else value
        for key, value in trailers or ()
        if key in wanted
    }


def report(scenario, run):
    try:
        reply, trailers = run()
        line = {"outcome": "ok", "reply": reply, "attachments": attachments(trailers)}
    except grpc.RpcError as error:
        line = {
            "outcome": "error",
            "code": error.code().name,
            "message": error.details(),
            "attachments": attachments(error.trailing_metadata()),
        }
    print(json.dumps({"scenario": scenario, **line}), flush=True)


class Greeter:
    def __init__(self, channel):
        self.channel = channel

    def unary(self, method, name="service mesh", **options):
        caller = self.channel.unary_unary(f"/{SERVICE}/{method}")
        reply, call = caller.with_call(message(name), timeout=PATIENCE_S, **options)
        return text(reply), call.trailing_metadata()

    def server_stream(self, method, timeout=PATIENCE_S):
        caller = self.channel.unary_stream(f"/{SERVICE}/{method}")
        replies = caller(message("service mesh"), timeout=timeout)
        return [text(reply) for reply in replies], replies.trailing_metadata()

    def bidi(self, method):
        caller = self.channel.stream_stream(f"/{SERVICE}/{method}")
        replies = caller(map(message, REQUESTS), timeout=PATIENCE_S)
        return [text(reply) for reply in replies], replies.trailing_metadata()

    def with_attachment(self, value):
        return self.unary("greetWithAttachment", metadata=[(ATTACHMENT, value)])

    def gzipped(self):
        return self.unary("UpperCaseGreet", "x" * 1000, compression=grpc.Compression.Gzip)

    # Apache's SDK for Python ends each request with an empty message.
    def unary_with_second_message(self):
        caller = self.channel.stream_unary(f"/{SERVICE}/UpperCaseGreet")
        reply, call = caller.with_call(iter([message("service mesh"), b""]), timeout=PATIENCE_S)
        return text(reply), call.trailing_metadata()

    def server_stream_with_second_message(self):
        caller = self.channel.stream_stream(f"/{SERVICE}/greetServerStream")
        replies = caller(iter([message("service mesh"), b""]), timeout=PATIENCE_S)
        return [text(reply) for reply in replies], replies.trailing_metadata()

    def check(self):
        check = self.channel.unary_unary("/grpc.health.v1.Health/Check")
        return health(check(message(SERVICE), timeout=PATIENCE_S)), None

    def watch(self):
        caller = self.channel.unary_stream("/grpc.health.v1.Health/Watch")
        states = caller(message(SERVICE), timeout=PATIENCE_S)
        first = health(next(states))
        states.cancel()
        return first, None

    def cancelled_stream(self):
        method = "cancelBiStream"
        before, _ = self.unary("queryCancelResult", method)
        caller = self.channel.stream_stream(f"/{SERVICE}/{method}")
        call = caller(map(message, REQUESTS), timeout=PATIENCE_S)
        replies = [text(next(call)) for _ in REQUESTS]
        call.cancel()
        after, end = before, time.monotonic() + PATIENCE_S
        while after != "true" and time.monotonic() < end:
            time.sleep(0.01)
            after, _ = self.unary("queryCancelResult", method)
        return {"before": before, "replies": replies, "after": after}, None


def main(address):
    with grpc.insecure_channel(address) as channel:
        greeter = Greeter(channel)
        report("greet", lambda: greeter.unary("greet"))
        report("UpperCaseGreet", lambda: greeter.unary("UpperCaseGreet"))
        report("greetServerStream", lambda: greeter.server_stream("greetServerStream"))
        report("greetStream", lambda: greeter.bidi("greetStream"))
        report("greetException", lambda: greeter.unary("greetException"))
        report("greetWithAttachment", lambda: greeter.with_attachment("me"))
        report("attachmentWithSpaces", lambda: greeter.with_attachment("  me  "))
        report("attachmentAbsent", lambda: greeter.unary("greetWithAttachment"))
        report("gzippedRequest", greeter.gzipped)
        report("deadline", lambda: greeter.server_stream("cancelServerStream", timeout=DEADLINE_S))
        report("healthOfService", greeter.check)
        report("healthWatch", greeter.watch)
        report("cancelBiStream", greeter.cancelled_stream)
        report("unaryWithSecondMessage", greeter.unary_with_second_message)
        report("serverStreamWithSecondMessage", greeter.server_stream_with_second_message)


if __name__ == "__main__":
    main(sys.argv[1])
