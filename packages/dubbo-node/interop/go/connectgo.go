package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type (
	text         = wrapperspb.StringValue
	clientStream = connect.BidiStreamForClient[text, text]
	serverStream = connect.BidiStream[text, text]
	healthCheck  = healthpb.HealthCheckRequest
	healthState  = healthpb.HealthCheckResponse
)

// connectGo is connectrpc.com/connect with gRPC's protocol over HTTP/2 without TLS.
type connectGo struct {
	client *http.Client
	url    string
}

func plainHTTP2() *http.Protocols {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	return &protocols
}

func newConnectGo(address string) library {
	transport := &http.Transport{Protocols: plainHTTP2()}
	return connectGo{&http.Client{Transport: transport}, "http://" + address}
}

func (g connectGo) printableOnly() bool {
	return false
}

func (g connectGo) call(ctx context.Context, c call, receive func(string)) (trailers, error) {
	options := []connect.ClientOption{connect.WithGRPC()}
	if c.gzip {
		options = append(options, connect.WithSendGzip())
	}
	client := connect.NewClient[text, text](g.client, g.url+c.path(), options...)
	if c.kind == bidi {
		return echo(client.CallBidiStream(ctx), c, receive)
	}
	request := connect.NewRequest(wrapperspb.String(c.names[0]))
	if c.attachment != "" {
		request.Header().Set(attachmentKey, c.attachment)
	}
	if c.kind == unary {
		reply, err := client.CallUnary(ctx, request)
		if err != nil {
			return metadataOf(err), err
		}
		receive(reply.Msg.Value)
		return decoded(reply.Trailer()), nil
	}
	stream, err := client.CallServerStream(ctx, request)
	if err != nil {
		return metadataOf(err), err
	}
	for stream.Receive() {
		receive(stream.Msg().Value)
	}
	if err := stream.Err(); err != nil {
		return metadataOf(err), err
	}
	return decoded(stream.ResponseTrailer()), nil
}

// echo sends the requests and receives the replies of a stream in both directions.
func echo(stream *clientStream, c call, receive func(string)) (trailers, error) {
	for _, name := range c.names {
		if err := stream.Send(wrapperspb.String(name)); err != nil {
			break // Receive returns the status.
		}
	}
	if err := stream.CloseRequest(); err != nil {
		return nil, err
	}
	for {
		reply, err := stream.Receive()
		switch {
		case errors.Is(err, io.EOF):
			return decoded(stream.ResponseTrailer()), nil
		case err != nil:
			return metadataOf(err), err
		}
		receive(reply.Value)
	}
}

// decoded converts the trailers: connect-go leaves this to its user.
func decoded(header http.Header) trailers {
	found := trailers{}
	for name, values := range header {
		key := strings.ToLower(name)
		for _, value := range values {
			if raw, err := connect.DecodeBinaryHeader(value); err == nil && strings.HasSuffix(key, "-bin") {
				value = string(raw)
			}
			found[key] = append(found[key], value)
		}
	}
	return found
}

// metadataOf returns the headers and trailers of a failure.
func metadataOf(err error) trailers {
	var failure *connect.Error
	if errors.As(err, &failure) {
		return decoded(failure.Meta())
	}
	return nil
}

func (g connectGo) health(method string) *connect.Client[healthCheck, healthState] {
	url := g.url + "/grpc.health.v1.Health/" + method
	return connect.NewClient[healthCheck, healthState](g.client, url, connect.WithGRPC())
}

func (g connectGo) check(ctx context.Context) (string, error) {
	request := connect.NewRequest(&healthCheck{Service: service})
	reply, err := g.health("Check").CallUnary(ctx, request)
	if err != nil {
		return "", err
	}
	return reply.Msg.Status.String(), nil
}

func (g connectGo) watch(ctx context.Context) (string, error) {
	request := connect.NewRequest(&healthCheck{Service: service})
	stream, err := g.health("Watch").CallServerStream(ctx, request)
	if err != nil {
		return "", err
	}
	if !stream.Receive() {
		return "", stream.Err()
	}
	return stream.Msg().Status.String(), nil
}

func (g connectGo) serve(listener net.Listener) error {
	mux := http.NewServeMux()
	for method, handle := range methods {
		path := call{method: method}.path()
		// A stream handler also serves unary calls: their bytes are the same.
		handler := func(ctx context.Context, stream *serverStream) error {
			return handle(ctx, connectExchange{stream})
		}
		mux.Handle(path, connect.NewBidiStreamHandler(path, handler))
	}
	server := http.Server{Handler: mux, Protocols: plainHTTP2()}
	return server.Serve(listener)
}

type connectExchange struct {
	stream *serverStream
}

func (e connectExchange) attachment() string {
	values := e.stream.RequestHeader().Values(attachmentKey)
	if len(values) == 0 {
		return "null"
	}
	return values[len(values)-1]
}

func (e connectExchange) receive() (string, error) {
	request, err := e.stream.Receive()
	return request.GetValue(), err
}

func (e connectExchange) send(reply string) error {
	return e.stream.Send(wrapperspb.String(reply))
}

func (e connectExchange) setTrailer(key, value string) {
	if strings.HasSuffix(key, "-bin") {
		value = connect.EncodeBinaryHeader([]byte(value))
	}
	e.stream.ResponseTrailer().Set(key, value)
}
