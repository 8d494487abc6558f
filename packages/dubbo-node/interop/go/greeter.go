package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// slowness is longer than the deadlines of the tests.
const slowness = 300 * time.Millisecond

// exchange is a served call.
type exchange interface {
	// attachment returns the value of the request's last header user-attachment, or null.
	attachment() string
	// receive returns io.EOF after the last request.
	receive() (string, error)
	send(reply string) error
	setTrailer(key, value string)
}

type method = func(ctx context.Context, e exchange) error

// cancelled has the names of the methods of which a call was cancelled.
var cancelled sync.Map

// methods are those of the Greeter, with the texts of the sample.
var methods = map[string]method{
	"greet":               once(greet),
	"UpperCaseGreet":      once(strings.ToUpper),
	"queryCancelResult":   once(queryCancelResult),
	"greetWithAttachment": greetWithAttachment,
	"greetException":      greetException,
	"greetStream": each(func(name string, count int) string {
		return fmt.Sprintf("%s %d", name, count)
	}),
	"compressorBiStream": each(func(name string, _ int) string { return name }),
	"greetServerStream":  numbered,
	"cancelServerStream": func(ctx context.Context, e exchange) error {
		if err := numbered(ctx, e); err != nil {
			return err
		}
		<-ctx.Done()
		cancelled.Store("cancelServerStream", true)
		return ctx.Err()
	},
}

func once(answer func(name string) string) method {
	return func(_ context.Context, e exchange) error {
		name, err := e.receive()
		if err != nil {
			return err
		}
		return e.send(answer(name))
	}
}

// greet is slow for the name "slow". It ignores the deadline, so the library ends the call.
func greet(name string) string {
	if name == "slow" {
		time.Sleep(slowness)
	}
	return "hello," + name
}

func queryCancelResult(name string) string {
	_, found := cancelled.Load(name)
	return fmt.Sprint(found)
}

// greetWithAttachment answers the name "Latin-1" with an attachment in this encoding.
func greetWithAttachment(_ context.Context, e exchange) error {
	name, err := e.receive()
	if err != nil {
		return err
	}
	value := "hello," + e.attachment()
	if name == "Latin-1" {
		value = "caf\xe9"
	}
	e.setTrailer(attachmentKey, value)
	return e.send("hello," + name)
}

func greetException(_ context.Context, e exchange) error {
	e.setTrailer("str", "str")
	e.setTrailer("integer", "1")
	e.setTrailer("raw-bin", "\x01\x02\x03\x04")
	return errors.New("Biz Exception")
}

func each(answer func(name string, count int) string) method {
	return func(_ context.Context, e exchange) error {
		for count := 1; ; count++ {
			name, err := e.receive()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := e.send(answer(name, count)); err != nil {
				return err
			}
		}
	}
}

func numbered(_ context.Context, e exchange) error {
	name, err := e.receive()
	if err != nil {
		return err
	}
	for index := range 10 {
		if err := e.send(fmt.Sprintf("%s--%d", name, index)); err != nil {
			return err
		}
	}
	return nil
}
