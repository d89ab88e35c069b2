package thaw

import (
	"io"
	"strings"
)

// Protocol is how the platform speaks to a function's process. How that process is
// started is another matter.
type Protocol string

const (
	// ProtocolLambda is of a process that asks for its work by the Lambda Runtime
	// API.
	ProtocolLambda Protocol = "lambda"
	// ProtocolHTTP is of a process that is an HTTP server on 127.0.0.1:$PORT.
	ProtocolHTTP Protocol = "http"
)

// Protocol is how s's process is spoken to.
func (s Settings) Protocol() Protocol {
	if s.Runtime == RuntimeHTTP {
		return ProtocolHTTP
	}
	return ProtocolLambda
}

// DefaultCommand is what [RuntimeHTTP] executes unless the handler says otherwise.
const DefaultCommand = "./bootstrap"

// Command is what is executed instead of the runtime's own program, by words; nil
// is nothing else. A word with a slash is a path from /var/task. No shell takes
// the words apart: they are separated by spaces, and that is all.
func (s Settings) Command() []string {
	if s.Runtime == RuntimeHTTP {
		return strings.Fields(s.Handler)
	}
	return nil
}

// Root names the runtime whose root disk s boots from: where the command begins
// with an interpreter, the interpreter's.
func (s Settings) Root() Runtime {
	if s.Runtime != RuntimeHTTP {
		return s.Runtime
	}
	switch words := s.Command(); {
	case len(words) > 0 && words[0] == "python3":
		return RuntimePython
	case len(words) > 0 && words[0] == "node":
		return RuntimeNode
	}
	return RuntimeProvided
}

// validateCommand wants a command of words that can be shown.
func (s Settings) validateCommand() error {
	if len(s.Command()) == 0 {
		return Errorf(CodeInvalid, "handler %q is not a command: write what starts the server, such as %s or `python3 server.py`", s.Handler, DefaultCommand)
	}
	for _, r := range s.Handler {
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return Errorf(CodeInvalid, "handler %q holds a character that no command has", s.Handler)
		}
	}
	return nil
}

// reservedHTTP reports the names that an HTTP server finds set, as on Cloud Run and
// Knative.
func reservedHTTP(name string) bool {
	switch name {
	case "PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION":
		return true
	}
	return false
}

// HTTPField is one line of a head: a header, or of a trailer.
type HTTPField struct{ Name, Value string }

// HTTPRequest is a request to a function that is an HTTP server.
type HTTPRequest struct {
	Method string
	// Target is the path and the query, as in a request line: /a/b?c=d.
	Target string
	// Header has no field that says how the body is sent.
	Header []HTTPField
	// Body is the body, nil for none. Who reads it closes it, which ends a Read under
	// way. Length is how long it is, in bytes, -1 when nobody knows.
	Body   io.ReadCloser
	Length int64
}

// MaxHTTPBody is the largest body of a request to an HTTP server, in bytes: a bound
// for what one client can have a function take in. Replies have none but the
// function's timeout.
const MaxHTTPBody = 1 << 30

// HTTPReply is the head of a reply of an HTTP server.
type HTTPReply struct {
	Status int
	Header []HTTPField
}

// HTTPReplier takes the reply of an HTTP server as it comes. Its methods are called by
// one goroutine; none of the rest is called before Begin. An error of it ends the
// exchange, and with it the request in the server.
type HTTPReplier interface {
	// Begin is called once, with the head and what is known of the invocation by then.
	Begin(HTTPReply, Invocation) error
	Write(p []byte) (int, error)
	// Trailer is called at the end, if there is one.
	Trailer([]HTTPField) error
}
