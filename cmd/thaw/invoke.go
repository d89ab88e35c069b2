package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"thaw"
	"thaw/client"
)

// invokeArguments wants NAME and lets - follow it.
func invokeArguments(cmd *cobra.Command, args []string) error {
	if len(args) != 2 {
		return arguments("NAME")(cmd, args)
	}
	if args[1] != "-" {
		return fmt.Errorf("unexpected argument %q: give the event with -d or -f, or - to read standard input", args[1])
	}
	return nil
}

type invokeFlags struct {
	data, file string
	policy     string
	cold       bool
	record     bool
	async      bool
	http       httpFlags
}

func newInvokeCommand(a *app) *cobra.Command {
	var f invokeFlags
	cmd := &cobra.Command{
		Use:   "invoke NAME [-]",
		Short: "Run a function once and print its reply",
		Long: `Run a function once and print its reply, and nothing else, on standard output.

NAME is what serves; NAME:VERSION, NAME:ALIAS and NAME:$LATEST are a version of it,
here and wherever a command takes NAME. The event is JSON from -d, from a file, or with - from standard input; without
any it is {}. When the function itself fails its error object is printed instead
and the exit code is 1. With -o json one object holds the reply as "response" and
how it came about: the start, its phases, page faults and bytes read.

With --path, -X or -H a request is sent to a function that is an HTTP server, whose body is
what -d, -f or - gives, and the body of the reply is printed as it comes; a status from 400 on is exit code 1.`,
		Example: `  thaw invoke hello -d '{"name": "Ada"}'
  thaw invoke hello:2 -d '{"name": "Ada"}'
  thaw invoke resize -f event.json --cold --policy vanilla -o json
  generate | thaw invoke count -
  thaw invoke web --path '/users/7?full=1' -X PUT -H 'Content-Type: text/plain' -d Ada`,
		Args:              invokeArguments,
		ValidArgsFunction: a.completeRefs(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.http.given(cmd) {
				return a.exchange(cmd, f, args)
			}
			request, err := f.request(a.stdin, cmd, args)
			if err != nil {
				return err
			}
			if f.async {
				return a.invokeAsync(cmd, request)
			}
			return a.invoke(cmd, request)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.data, "data", "d", "", "event as `JSON`")
	flags.StringVarP(&f.file, "file", "f", "", "`file` that holds the event")
	flags.StringVar(&f.policy, "policy", "", "how a new VM gets its memory: `policy`, one of "+strings.Join(policyNames(), ", ")+" (default auto)")
	flags.BoolVar(&f.cold, "cold", false, "make a new VM even if one is idle")
	flags.BoolVar(&f.record, "record", false, "make a new VM and record the memory it touches, in place of the recording before")
	flags.BoolVar(&f.async, "async", false, "do not wait: print the request id once the invocation is in the queue")
	for _, other := range []string{"policy", "cold", "record"} {
		cmd.MarkFlagsMutuallyExclusive("async", other)
	}
	cmd.MarkFlagsMutuallyExclusive("data", "file")
	f.http.add(cmd)
	completeWords(cmd, "policy", policyNames()...)
	return cmd
}

func (f invokeFlags) request(stdin io.Reader, cmd *cobra.Command, args []string) (thaw.InvokeRequest, error) {
	r, err := f.target(args)
	if err == nil {
		r.Payload, err = f.event(stdin, cmd, args[1:])
	}
	return r, err
}

// target reads what is asked for, but for what is sent.
func (f invokeFlags) target(args []string) (thaw.InvokeRequest, error) {
	r := thaw.InvokeRequest{Function: args[0], Cold: f.cold, Record: f.record}
	if _, err := thaw.ParseRef(r.Function); err != nil {
		return r, err
	}
	if f.policy != "" {
		policy, err := thaw.ParsePolicy(f.policy)
		if err != nil {
			return r, err
		}
		r.Policy = policy
	}
	return r, nil
}

// event reads the event from wherever the command line says, and checks it, so
// that the message names the place.
func (f invokeFlags) event(stdin io.Reader, cmd *cobra.Command, args []string) ([]byte, error) {
	fromData, fromFile := cmd.Flags().Changed("data"), cmd.Flags().Changed("file")
	if len(args) > 0 && (fromData || fromFile) {
		return nil, thaw.Errorf(thaw.CodeInvalid, "the event is given twice: use one of -d, -f and -")
	}
	switch {
	case fromData:
		return checkEvent("-d", []byte(f.data))
	case fromFile:
		return readEventFile(f.file)
	case len(args) > 0:
		return readEvent("standard input", stdin)
	default:
		return nil, nil
	}
}

func readEventFile(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "read the event: %w", err)
	}
	defer file.Close()
	return readEvent(name, file)
}

func readEvent(place string, r io.Reader) ([]byte, error) {
	event, err := io.ReadAll(io.LimitReader(r, thaw.MaxPayload+1))
	if err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "read the event: %w", err)
	}
	return checkEvent(place, event)
}

func checkEvent(place string, event []byte) ([]byte, error) {
	if len(event) > thaw.MaxPayload {
		return nil, thaw.Errorf(thaw.CodeTooLarge, "the event in %s is larger than %s: that is the most an invocation takes", place, size(thaw.MaxPayload))
	}
	var v json.RawMessage
	if err := json.Unmarshal(event, &v); err != nil {
		return nil, thaw.Errorf(thaw.CodeInvalid, "the event in %s is not JSON: %w", place, err)
	}
	return event, nil
}

func (a *app) invoke(cmd *cobra.Command, request thaw.InvokeRequest) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	call := c.Invoke
	if a.asValues() {
		call = c.InvokeRecorded
	}
	reply, err := call(cmd.Context(), request)
	if err != nil {
		return err
	}
	if err := a.printReply(reply); err != nil {
		return err
	}
	if reply.FunctionError != "" {
		return functionFailed(reply)
	}
	return nil
}

// invokeAsync prints the request id.
func (a *app) invokeAsync(cmd *cobra.Command, request thaw.InvokeRequest) error {
	return a.withClient(func(c *client.Client) error {
		id, err := c.InvokeAsync(cmd.Context(), request.Function, request.Payload)
		if err != nil {
			return err
		}
		if a.asValues() {
			return a.value(map[string]string{"id": id})
		}
		_, err = fmt.Fprintln(a.stdout, id)
		return written(err)
	})
}

// printReply writes the reply byte for byte; only a person at a terminal gets a
// line end with it.
func (a *app) printReply(reply thaw.Reply) error {
	if a.asValues() {
		return a.value(recorded{response(reply.Payload), reply.Invocation})
	}
	payload := reply.Payload
	if isTerminal(a.stdout) {
		payload = append(payload, '\n')
	}
	_, err := a.stdout.Write(payload)
	return written(err)
}

// recorded is the object that -o json prints.
type recorded struct {
	Response json.RawMessage `json:"response"`
	thaw.Invocation
}

// response returns a reply as a JSON value: itself, or a string that holds it.
func response(payload []byte) json.RawMessage {
	if json.Valid(payload) {
		return payload
	}
	raw, err := json.Marshal(string(payload))
	if err != nil {
		panic(err) // a string always marshals
	}
	return raw
}

func functionFailed(reply thaw.Reply) error {
	var e thaw.FunctionError
	message := "see its reply"
	if json.Unmarshal(reply.Payload, &e) == nil && e.Message != "" {
		message = e.Message
	}
	return thaw.Errorf(thaw.CodeFunction, "function %s failed: %s: %s", reply.Function, reply.FunctionError, oneLine(message))
}
