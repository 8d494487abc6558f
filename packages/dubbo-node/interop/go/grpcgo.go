package main

import (
	"context"
	"errors"
	"io"
	"net"
	"path"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// grpcGo is google.golang.org/grpc.
type grpcGo struct {
	connection *grpc.ClientConn
}

func newGrpcGo(address string) (library, error) {
	plain := grpc.WithTransportCredentials(insecure.NewCredentials())
	connection, err := grpc.NewClient(address, plain)
	return grpcGo{connection}, err
}

func (g grpcGo) printableOnly() bool {
	return true
}

func (g grpcGo) call(ctx context.Context, c call, receive func(string)) (trailers, error) {
	if c.attachment != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, attachmentKey, c.attachment)
	}
	var options []grpc.CallOption
	if c.gzip {
		options = append(options, grpc.UseCompressor(gzip.Name))
	}
	if c.kind == unary {
		var trailer metadata.MD
		var reply wrapperspb.StringValue
		options = append(options, grpc.Trailer(&trailer))
		err := g.connection.Invoke(ctx, c.path(), wrapperspb.String(c.names[0]), &reply, options...)
		if err == nil {
			receive(reply.Value)
		}
		return trailers(trailer), err
	}
	description := &grpc.StreamDesc{ServerStreams: true, ClientStreams: c.kind == bidi}
	stream, err := g.connection.NewStream(ctx, description, c.path(), options...)
	if err != nil {
		return nil, err
	}
	for _, name := range c.names {
		if err := stream.SendMsg(wrapperspb.String(name)); err != nil {
			break // RecvMsg returns the status.
		}
	}
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	for {
		var reply wrapperspb.StringValue
		switch err := stream.RecvMsg(&reply); {
		case errors.Is(err, io.EOF):
			return trailers(stream.Trailer()), nil
		case err != nil:
			return trailers(stream.Trailer()), err
		}
		receive(reply.Value)
	}
}

func (g grpcGo) check(ctx context.Context) (string, error) {
	request := &healthpb.HealthCheckRequest{Service: service}
	reply, err := healthpb.NewHealthClient(g.connection).Check(ctx, request)
	return reply.GetStatus().String(), err
}

func (g grpcGo) watch(ctx context.Context) (string, error) {
	request := &healthpb.HealthCheckRequest{Service: service}
	stream, err := healthpb.NewHealthClient(g.connection).Watch(ctx, request)
	if err != nil {
		return "", err
	}
	reply, err := stream.Recv()
	return reply.GetStatus().String(), err
}

func (g grpcGo) serve(listener net.Listener) error {
	// A stream handler also serves unary calls: their bytes are the same.
	return grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		full, _ := grpc.MethodFromServerStream(stream)
		handle, found := methods[path.Base(full)]
		if !found {
			return status.Errorf(codes.Unimplemented, "unknown method %s", full)
		}
		return handle(stream.Context(), grpcExchange{stream})
	})).Serve(listener)
}

type grpcExchange struct {
	stream grpc.ServerStream
}

func (e grpcExchange) attachment() string {
	values := metadata.ValueFromIncomingContext(e.stream.Context(), attachmentKey)
	if len(values) == 0 {
		return "null"
	}
	return values[len(values)-1]
}

func (e grpcExchange) receive() (string, error) {
	var request wrapperspb.StringValue
	err := e.stream.RecvMsg(&request)
	return request.Value, err
}

func (e grpcExchange) send(reply string) error {
	return e.stream.SendMsg(wrapperspb.String(reply))
}

func (e grpcExchange) setTrailer(key, value string) {
	e.stream.SetTrailer(metadata.Pairs(key, value))
}
