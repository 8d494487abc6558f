// Command peer calls the sample's Greeter, or serves it, with a gRPC library of Go.
//
//	peer client --library grpc-go|connect-go --address HOST:PORT
//	peer server --library grpc-go|connect-go --port PORT
//
// The client prints one JSON line for each scenario. The server prints its port when it is ready;
// port 0 takes a free one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
)

const (
	service       = "org.apache.dubbo.samples.Greeter"
	attachmentKey = "user-attachment"
)

// kind is the kind of a method.
type kind int

const (
	unary kind = iota
	streamed
	bidi
)

// call is a call of the Greeter.
type call struct {
	method     string
	kind       kind
	names      []string
	attachment string
	gzip       bool
}

func (c call) path() string {
	return "/" + service + "/" + c.method
}

// trailers are those of a reply, with names in lower case and decoded values.
type trailers map[string][]string

// library is one implementation of gRPC.
//
// GreeterRequest, GreeterReply and StringValue have the same encoding: one text with number 1. So
// StringValue takes their place, and the Greeter needs no generated code.
type library interface {
	// call makes a call, passes each reply to receive, and returns the trailers.
	call(ctx context.Context, c call, receive func(reply string)) (trailers, error)
	// check returns the health of the Greeter.
	check(ctx context.Context) (string, error)
	// watch returns the first health that a watch reports.
	watch(ctx context.Context) (string, error)
	// serve serves the Greeter.
	serve(listener net.Listener) error
	// printableOnly tells that the library refuses attachments which are not printable ASCII.
	printableOnly() bool
}

func open(name, address string) (library, error) {
	switch name {
	case "grpc-go":
		return newGrpcGo(address)
	case "connect-go":
		return newConnectGo(address), nil
	}
	return nil, fmt.Errorf("unknown library %q: use grpc-go or connect-go", name)
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("the first argument must be client or server")
	}
	flags := flag.NewFlagSet(arguments[0], flag.ExitOnError)
	name := flags.String("library", "grpc-go", "grpc-go or connect-go")
	address := flags.String("address", "127.0.0.1:50052", "address of the called provider")
	port := flags.Int("port", 50052, "port to serve on")
	if err := flags.Parse(arguments[1:]); err != nil {
		return err
	}
	used, err := open(*name, *address)
	if err != nil {
		return err
	}
	if arguments[0] == "client" {
		return runScenarios(used)
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	return used.serve(listener)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
}
