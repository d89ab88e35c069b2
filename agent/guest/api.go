package guest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"thaw"
	"thaw/agent/guest/http1"
)

// maxError bounds an error a runtime reports about its init, which travels as
// JSON.
const maxError = 256 << 10

// maxErrorType bounds an error's type in bytes.
const maxErrorType = 256

// maxDiscard is how much of a reply over the limit is read, so that the runtime
// gets to read the refusal.
const maxDiscard = 64 << 20

// api is the Runtime API's server ("Using the Lambda runtime API for custom
// runtimes", Lambda developer guide, and its OpenAPI file, 2018-06-01).
//
// It listens on TCP, where every runtime looks for it, and on a unix socket for
// our own: the kernel's TCP is code and pages that a restored guest then need
// not touch.
type api struct {
	cfg    Config
	fn     *function
	tcp    net.Listener
	unix   net.Listener
	arn    string
	closed chan struct{}
	done   sync.WaitGroup

	work chan struct{} // says that something is pending; has room for one

	mu          sync.Mutex
	conns       map[net.Conn]struct{}  // nil when closed
	waiters     []chan struct{}        // closed when too many others wait for work
	invocations map[string]*invocation // under way, by request id
	pending     []*invocation          // of those, what the runtime has not been handed, in order
}

// newAPI listens; serve answers.
func newAPI(cfg Config, fn *function) (*api, error) {
	// Keep-alive probes would be timers that fire for nothing.
	lc := net.ListenConfig{KeepAlive: -1}
	lc.SetMultipathTCP(false)
	tcp, err := lc.Listen(context.Background(), "tcp4", cfg.APIAddr)
	if err != nil {
		return nil, fmt.Errorf("listen for the runtime: %w", err)
	}
	unix, err := listenUnix(lc, cfg.APISocket)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listen for the runtime: %w", err), tcp.Close())
	}
	return &api{
		cfg: cfg, fn: fn, tcp: tcp, unix: unix, arn: functionARN(fn.init), closed: make(chan struct{}),
		work: make(chan struct{}, 1), conns: make(map[net.Conn]struct{}), invocations: make(map[string]*invocation),
	}, nil
}

// environment is what Lambda reserves.
func (a *api) environment() map[string]string {
	return lambdaEnv(a.cfg, a.fn.init, a.tcp.Addr().String())
}

// listenUnix listens where every user of the guest may connect.
func listenUnix(lc net.ListenConfig, address string) (net.Listener, error) {
	l, err := lc.Listen(context.Background(), "unix", address)
	if err != nil || strings.HasPrefix(address, "@") {
		return l, err
	}
	if err := os.Chmod(address, 0o666); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// serve answers until close.
func (a *api) serve() {
	a.done.Go(func() { a.accept(a.unix) })
	a.accept(a.tcp)
}

func (a *api) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err == nil {
			a.begin(c)
			continue
		}
		select {
		case <-a.closed:
			return
		case <-time.After(retryDelay): // such as too many open files
		}
	}
}

func (a *api) begin(c net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conns == nil {
		c.Close()
		return
	}
	a.conns[c] = struct{}{}
	a.done.Go(func() {
		a.converse(c)
		c.Close()
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.conns, c)
	})
}

// close ends every connection and waits for its goroutine.
func (a *api) close() {
	close(a.closed)
	a.tcp.Close()
	a.unix.Close()
	a.mu.Lock()
	for c := range a.conns {
		c.Close()
	}
	a.conns = nil
	a.mu.Unlock()
	a.done.Wait()
}

// converse answers the requests of one connection. Its errors concern nobody
// but the client, who sees the connection end.
func (a *api) converse(conn net.Conn) {
	c := http1.NewConn(conn)
	for {
		r, err := c.Next()
		if err != nil {
			return
		}
		if err := a.answer(c, r); err != nil {
			return
		}
	}
}

// answer dispatches one request.
func (a *api) answer(c *http1.Conn, r *http1.Request) error {
	path, ok := strings.CutPrefix(r.Path, "/2018-06-01/runtime/")
	if !ok {
		return refuse(c, 404, "NotFound", "No such resource")
	}
	switch r.Method + " " + path {
	case "GET invocation/next":
		return a.next(c)
	case "GET prime/next":
		return a.primeNext(c)
	case "GET restore/next":
		return a.restoreNext(c)
	case "POST init/error", "POST restore/error":
		return a.runtimeError(c, r)
	}
	id, verb, _ := strings.Cut(strings.TrimPrefix(path, "invocation/"), "/")
	switch {
	case r.Method != "POST" || !strings.HasPrefix(path, "invocation/"):
		return refuse(c, 404, "NotFound", "No such resource")
	case verb == "response":
		return a.response(c, id)
	case verb == "error":
		return a.invocationError(c, r, id)
	}
	return refuse(c, 404, "NotFound", "No such resource")
}

func (a *api) eventHeaders(inv *invocation) string {
	h := "Content-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: " + inv.RequestID +
		"\r\nLambda-Runtime-Deadline-Ms: " + strconv.FormatInt(inv.DeadlineMS, 10) +
		"\r\nLambda-Runtime-Invoked-Function-Arn: " + a.arn + "\r\n"
	if inv.TraceID != "" {
		h += "Lambda-Runtime-Trace-Id: " + oneLine(inv.TraceID) + "\r\n"
	}
	if inv.ClientContext != "" {
		h += "Lambda-Runtime-Client-Context: " + oneLine(inv.ClientContext) + "\r\n"
	}
	return h
}

// oneLine keeps a caller's text from becoming more than one header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
}

func (a *api) response(c *http1.Conn, id string) error {
	if !a.answering(id) {
		return refuseID(c)
	}
	body, err := c.Body(thaw.MaxPayload)
	switch {
	case errors.Is(err, http1.ErrTooBig):
		return a.tooBig(c, id)
	case err != nil:
		return err
	case a.complete(id, "", body):
		return accept(c)
	}
	return refuseID(c)
}

// tooBig ends the invocation with an error and lets the runtime go on.
func (a *api) tooBig(c *http1.Conn, id string) error {
	fe := thaw.FunctionError{
		Type:    thaw.ErrorTypeTooBig,
		Message: fmt.Sprintf("Response payload size exceeded maximum allowed payload size (%d bytes).", thaw.MaxPayload),
	}
	if err := c.Discard(maxDiscard); err != nil {
		return err
	}
	if !a.complete(id, fe.Type, fe.JSON()) {
		return refuseID(c)
	}
	return refuse(c, 413, "RequestEntityTooLarge", fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", thaw.MaxPayload))
}

func (a *api) invocationError(c *http1.Conn, r *http1.Request, id string) error {
	if !a.answering(id) {
		return refuseID(c)
	}
	body, err := c.Body(thaw.MaxPayload)
	if errors.Is(err, http1.ErrTooBig) {
		return a.tooBig(c, id)
	}
	if err != nil {
		return err
	}
	fe := reported(r, body)
	if len(body) == 0 {
		body = fe.JSON()
	}
	if !a.complete(id, fe.Type, body) {
		return refuseID(c)
	}
	return accept(c)
}

// runtimeError takes the runtime's word that it cannot start, or go on after a
// restore.
func (a *api) runtimeError(c *http1.Conn, r *http1.Request) error {
	body, err := c.Body(maxError)
	if err != nil && !errors.Is(err, http1.ErrTooBig) {
		return err
	}
	a.fn.fail(reported(r, body)) // the header's type tells something without a body
	return accept(c)
}

// restoreNext blocks until the snapshot has been taken and restored.
func (a *api) restoreNext(c *http1.Conn) error {
	if a.fn.priming() {
		return a.refuseRestore(c)
	}
	a.fn.rest()
	select {
	case <-a.fn.restored:
		return c.Answer(200, "", nil)
	case <-a.closed:
		return errGivenUp
	}
}

// reported returns the error that a runtime posted. Lambda's shape is expected;
// anything else still has a type.
func reported(r *http1.Request, body []byte) thaw.FunctionError {
	var fe thaw.FunctionError
	if err := json.Unmarshal(body, &fe); err != nil {
		fe = thaw.FunctionError{Message: string(body)}
	}
	if fe.Type == "" {
		fe.Type = r.Header("Lambda-Runtime-Function-Error-Type")
	}
	if fe.Type == "" {
		fe.Type = "Unhandled"
	}
	fe.Type = string(clip(fe.Type, maxErrorType))
	return fe
}

const jsonType = "Content-Type: application/json\r\n"

func accept(c *http1.Conn) error {
	return c.Answer(202, jsonType, []byte(`{"status":"OK"}`+"\n"))
}

func refuseID(c *http1.Conn) error {
	return refuse(c, 400, "InvalidRequestID", "Invalid request ID")
}

// refuse answers in Lambda's shape of an error.
func refuse(c *http1.Conn, status int, kind, message string) error {
	return c.Answer(status, jsonType, thaw.FunctionError{Type: kind, Message: message}.JSON())
}
