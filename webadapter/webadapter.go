// Package webadapter makes Lambda's invocations of functions that are HTTP servers into
// requests, and the replies into results: what the Lambda Web Adapter does inside of a
// function, and with its variables in the function's environment.
//
// An event that tells of an HTTP request (see package functionurl) becomes that
// request, and the reply goes back in the same shape. Any other payload is posted as it
// is, application/json, to $AWS_LWA_PASS_THROUGH_PATH, or /, and the body of the reply
// is the result.
//
// Statuses that $AWS_LWA_ERROR_STATUS_CODES names (500,502-504) are failures of the
// function. Where it is not set, those from 500 on are, of payloads that are posted: a
// reply in the shape of HTTP says its status itself, and of nothing else would anybody
// learn that it failed.
package webadapter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"thaw"
	"thaw/functionurl"
)

// The variables of the Lambda Web Adapter.
const (
	envPath   = "AWS_LWA_PASS_THROUGH_PATH"
	envErrors = "AWS_LWA_ERROR_STATUS_CODES"
)

// ErrorTypeStatus is the type of the failure that a status is.
const ErrorTypeStatus = "Runtime.ErrorStatus"

// maxQuote is how much of a body is quoted in a failure, in bytes.
const maxQuote = 1 << 10

// Adapter is one invocation. It takes the reply as an agent's Replier does.
type Adapter struct {
	// Request is what is to be sent.
	Request thaw.HTTPRequest

	event  bool // the payload told of a request
	errors string
	reply  thaw.HTTPReply
	body   bytes.Buffer
	over   bool // the body is too large
}

// Adapt makes a request of a payload. env is the function's environment.
func Adapt(payload []byte, traceID string, env map[string]string) (*Adapter, error) {
	a := &Adapter{errors: env[envErrors]}
	if e, ok := functionurl.Parse(payload); ok {
		r, err := e.Request()
		a.Request, a.event = r, true
		return a, err
	}
	path := env[envPath]
	if path == "" {
		path = "/"
	}
	a.Request = thaw.HTTPRequest{
		Method: "POST", Target: path, Body: io.NopCloser(bytes.NewReader(payload)), Length: int64(len(payload)),
		Header: []thaw.HTTPField{{Name: "Host", Value: "localhost"}, {Name: "Content-Type", Value: "application/json"}},
	}
	if traceID != "" {
		a.Request.Header = append(a.Request.Header, thaw.HTTPField{Name: "X-Amzn-Trace-Id", Value: traceID})
	}
	return a, nil
}

// Head takes the reply's head.
func (a *Adapter) Head(r thaw.HTTPReply) error { a.reply = r; return nil }

var errTooLarge = errors.New("the reply is too large")

// Write takes a piece of the body.
func (a *Adapter) Write(p []byte) (int, error) {
	if a.body.Len()+len(p) > thaw.MaxPayload {
		a.over = true
		return 0, errTooLarge
	}
	return a.body.Write(p)
}

// Trailer drops it: results have none.
func (a *Adapter) Trailer([]thaw.HTTPField) error { return nil }

// TooLarge is the failure that a body over [thaw.MaxPayload] is, nil if it is not.
func (a *Adapter) TooLarge() *thaw.FunctionError {
	if !a.over {
		return nil
	}
	return &thaw.FunctionError{
		Type:    thaw.ErrorTypeTooBig,
		Message: fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", thaw.MaxPayload),
	}
}

// Failure is the failure that the status is, nil if it is none.
func (a *Adapter) Failure() *thaw.FunctionError {
	if !a.fails(a.reply.Status) {
		return nil
	}
	body := strings.ToValidUTF8(string(a.body.Bytes()[:min(a.body.Len(), maxQuote)]), "\uFFFD")
	return &thaw.FunctionError{Type: ErrorTypeStatus, Message: fmt.Sprintf("the server replied %d: %s", a.reply.Status, body)}
}

func (a *Adapter) fails(status int) bool {
	if a.errors == "" {
		return !a.event && status >= 500
	}
	for part := range strings.SplitSeq(a.errors, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		low, err := strconv.Atoi(from)
		high := low
		if ranged && err == nil {
			high, err = strconv.Atoi(to)
		}
		if err == nil && low <= status && status <= high {
			return true
		}
	}
	return false
}

// Result is what the invocation returns.
func (a *Adapter) Result() []byte {
	if a.event {
		return functionurl.Reply(a.reply, a.body.Bytes())
	}
	return a.body.Bytes()
}
