package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc/status"
)

const (
	// patience limits each call.
	patience = 5 * time.Second
	deadline = 100 * time.Millisecond
	// poll is the wait between queries for a cancellation.
	poll = 10 * time.Millisecond
)

var requests = []string{"request 0", "request 1", "request 2"}

// report is a printed line, in the form of the Java consumer's.
type report struct {
	Scenario    string            `json:"scenario"`
	Outcome     string            `json:"outcome"`
	Reply       any               `json:"reply,omitempty"`
	Code        string            `json:"code,omitempty"`
	Message     string            `json:"message,omitempty"`
	Attachments map[string]string `json:"attachments"`
}

func write(scenario string, reply any, found trailers, err error) error {
	line := report{Scenario: scenario, Outcome: "ok", Reply: reply, Attachments: attachments(found)}
	if err != nil {
		line.Outcome, line.Reply = "error", nil
		line.Code, line.Message = codeAndMessage(err)
	}
	return json.NewEncoder(os.Stdout).Encode(line)
}

// codeAndMessage returns the status of a failure of either library.
func codeAndMessage(err error) (string, string) {
	code, message := connect.CodeOf(err), err.Error()
	if failure, ok := err.(*connect.Error); ok {
		message = failure.Message()
	} else if failure, ok := status.FromError(err); ok {
		code, message = connect.Code(failure.Code()), failure.Message()
	}
	return strings.ToUpper(code.String()), message
}

// attachments returns the trailers that the Greeter sends. A byte becomes one character.
func attachments(found trailers) map[string]string {
	kept := map[string]string{}
	for _, key := range []string{attachmentKey, "str", "integer", "raw-bin"} {
		for _, value := range found[key] {
			var characters strings.Builder
			for _, each := range []byte(value) {
				characters.WriteRune(rune(each))
			}
			kept[key] = characters.String()
		}
	}
	return kept
}

type scenario struct {
	name string
	call
}

func scenarios(used library) []scenario {
	name := []string{"service mesh"}
	greeting := func(attachment string) call {
		return call{method: "greetWithAttachment", names: name, attachment: attachment}
	}
	one := func(method string, kind kind) call {
		return call{method: method, kind: kind, names: name}
	}
	zipped := call{method: "UpperCaseGreet", names: []string{strings.Repeat("x", 1000)}, gzip: true}
	all := []scenario{
		{"greet", one("greet", unary)},
		{"UpperCaseGreet", one("UpperCaseGreet", unary)},
		{"greetServerStream", one("greetServerStream", streamed)},
		{"greetStream", call{method: "greetStream", kind: bidi, names: requests}},
		{"greetException", one("greetException", unary)},
		{"greetWithAttachment", greeting("me")},
		{"attachmentWithSpaces", greeting("  me  ")},
		{"attachmentAbsent", greeting("")},
		{"gzippedRequest", zipped},
	}
	if !used.printableOnly() {
		all = append(all, scenario{"attachmentInLatin1", greeting("caf\xe9")})
	}
	return all
}

// runScenarios prints one line for each scenario.
func runScenarios(used library) error {
	for _, each := range scenarios(used) {
		replies, trailers, err := within(patience, used, each.call)
		var reply any = replies
		if each.kind == unary && err == nil {
			reply = replies[0]
		}
		if err := write(each.name, reply, trailers, err); err != nil {
			return err
		}
	}
	endless := call{method: "cancelServerStream", kind: streamed, names: requests[:1]}
	_, _, err := within(deadline, used, endless)
	if err := write("deadline", nil, nil, err); err != nil {
		return err
	}
	if err := health("healthOfService", used.check); err != nil {
		return err
	}
	if err := health("healthWatch", used.watch); err != nil {
		return err
	}
	cancelled, err := cancelledStream(used)
	return write("cancelBiStream", cancelled, nil, err)
}

func health(scenario string, ask func(context.Context) (string, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	found, err := ask(ctx)
	return write(scenario, found, nil, err)
}

// within makes a call with a deadline, and returns all replies.
func within(limit time.Duration, used library, c call) ([]string, trailers, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	replies := []string{}
	trailers, err := used.call(ctx, c, func(reply string) { replies = append(replies, reply) })
	return replies, trailers, err
}

// cancelledStream cancels a stream, and returns its replies and what the provider knows of the
// cancellation before and after it.
func cancelledStream(used library) (any, error) {
	const method = "cancelBiStream"
	before, err := queryCancel(used, method)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	replies := []string{}
	// The error is that of the cancellation.
	_, _ = used.call(ctx, call{method: method, kind: bidi, names: requests}, func(reply string) {
		if replies = append(replies, reply); len(replies) == len(requests) {
			cancel()
		}
	})
	after := before
	for end := time.Now().Add(patience); after != "true" && time.Now().Before(end); time.Sleep(poll) {
		if after, err = queryCancel(used, method); err != nil {
			return nil, err
		}
	}
	return map[string]any{"before": before, "replies": replies, "after": after}, nil
}

func queryCancel(used library, method string) (string, error) {
	query := call{method: "queryCancelResult", names: []string{method}}
	replies, _, err := within(patience, used, query)
	if err != nil {
		return "", err
	}
	return replies[0], nil
}
